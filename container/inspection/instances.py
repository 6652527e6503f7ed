"""SageMaker's instance types with NVIDIA GPUs on x86.

From "Accelerated computing" in Amazon's guide of EC2 instance types (docs.aws.amazon.com/ec2/latest/instancetypes/ac.html), as
read on 2026-11-21. An ml. type has the hardware of the EC2 type of that name; the order is that of the memory of all GPUs, then
of the vCPUs, which is nearly that of the prices.
"""

from dataclasses import dataclass

from handler.errors import StartError

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Instance:
    """`gpu_gib` is the memory of one GPU, `memory_gib` that of the machine."""

    name: str
    gpu: str
    gpus: int
    gpu_gib: int
    vcpus: int
    memory_gib: int

    @property
    def gpu_bytes(self) -> int:
        return self.gpu_gib * GIB


# GPU, GiB of one; then the sizes: name, GPUs, vCPUs, GiB of the machine's memory.
_FAMILIES: tuple[tuple[str, str, int, tuple[tuple[str, int, int, int], ...]], ...] = (
    ("g4dn", "T4", 16, (("xlarge", 1, 4, 16), ("2xlarge", 1, 8, 32), ("4xlarge", 1, 16, 64), ("8xlarge", 1, 32, 128),
                        ("12xlarge", 4, 48, 192), ("16xlarge", 1, 64, 256))),
    ("g5", "A10G", 22, (("xlarge", 1, 4, 16), ("2xlarge", 1, 8, 32), ("4xlarge", 1, 16, 64), ("8xlarge", 1, 32, 128),
                        ("12xlarge", 4, 48, 192), ("16xlarge", 1, 64, 256), ("24xlarge", 4, 96, 384),
                        ("48xlarge", 8, 192, 768))),
    ("g6", "L4", 22, (("xlarge", 1, 4, 16), ("2xlarge", 1, 8, 32), ("4xlarge", 1, 16, 64), ("8xlarge", 1, 32, 128),
                      ("12xlarge", 4, 48, 192), ("16xlarge", 1, 64, 256), ("24xlarge", 4, 96, 384),
                      ("48xlarge", 8, 192, 768))),
    ("g6e", "L40S", 44, (("xlarge", 1, 4, 32), ("2xlarge", 1, 8, 64), ("4xlarge", 1, 16, 128), ("8xlarge", 1, 32, 256),
                         ("12xlarge", 4, 48, 384), ("16xlarge", 1, 64, 512), ("24xlarge", 4, 96, 768),
                         ("48xlarge", 8, 192, 1536))),
    ("g7e", "RTX PRO 6000", 96, (("2xlarge", 1, 8, 64), ("4xlarge", 1, 16, 128), ("8xlarge", 1, 32, 256),
                                 ("12xlarge", 2, 48, 512), ("24xlarge", 4, 96, 1024), ("48xlarge", 8, 192, 2048))),
    ("p4d", "A100", 40, (("24xlarge", 8, 96, 1152),)),
    ("p4de", "A100", 80, (("24xlarge", 8, 96, 1152),)),
    ("p5", "H100", 80, (("4xlarge", 1, 16, 256), ("48xlarge", 8, 192, 2048))),
    ("p5e", "H200", 141, (("48xlarge", 8, 192, 2048),)),
    ("p5en", "H200", 141, (("48xlarge", 8, 192, 2048),)),
    ("p6-b200", "B200", 179, (("48xlarge", 8, 192, 2048),)),
    ("p6-b300", "B300", 268, (("48xlarge", 8, 192, 4096),)),
)  # fmt: skip

INSTANCES: tuple[Instance, ...] = tuple(
    sorted(
        (
            Instance(f"ml.{family}.{size}", gpu, gpus, gpu_gib, vcpus, memory_gib)
            for family, gpu, gpu_gib, sizes in _FAMILIES
            for size, gpus, vcpus, memory_gib in sizes
        ),
        key=lambda each: (each.gpus * each.gpu_gib, each.vcpus, each.name),
    )
)


def find_instance(name: str) -> Instance:
    """The type of that name, with or without `ml.`. Raises StartError with the types that there are."""
    wanted = f"ml.{name.removeprefix('ml.')}"
    found = next((each for each in INSTANCES if each.name == wanted), None)
    if found is None:
        family = wanted.rpartition(".")[0]
        near = [each.name for each in INSTANCES if each.name.startswith(f"{family}.")] or [e.name for e in INSTANCES]
        raise StartError(
            f"--instance-type {name!r} is not a type with GPUs that Lumi knows; there is {', '.join(near)}."
        )
    return found
