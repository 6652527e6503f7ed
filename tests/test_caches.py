import pytest

from handler.engines.vllm.caches import kept_in
from handler.errors import OptionError


def test_everything_that_is_compiled_is_kept_in_one_directory(tmp_path):
    environ = kept_in(str(tmp_path / "compiled"))
    assert environ["VLLM_CACHE_ROOT"] == str(tmp_path / "compiled" / "vllm")
    assert len(set(environ.values())) == len(environ)
    assert not list((tmp_path / "compiled").iterdir())


def test_a_directory_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match=r"OPTION_COMPILE_CACHE_DIR.*cannot be written"):
        kept_in(str(tmp_path / "file" / "compiled"))
