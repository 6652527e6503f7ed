"""SageMaker's SM_HOSTS and SM_CURRENT_HOST -> the number of hosts, the first one, and the rank of this one."""

import json
import re


def host_list(text: str) -> list[str]:
    """The hosts of a SageMaker job."""
    try:
        hosts = json.loads(text)
    except ValueError:
        hosts = None
    if not isinstance(hosts, list) or not hosts or not all(isinstance(host, str) for host in hosts):
        raise ValueError('is not a JSON list of hosts such as ["algo-1","algo-2"]')
    return hosts


def host_count(text: str) -> int:
    return len(host_list(text))


def first_host(text: str) -> str:
    return host_list(text)[0]


def host_rank(text: str) -> int:
    """SageMaker counts hosts from 1: algo-2 is the second."""
    number = re.search(r"-([1-9][0-9]*)$", text.strip())
    if number is None:
        raise ValueError("does not end in the number of a host, such as algo-1")
    return int(number[1]) - 1
