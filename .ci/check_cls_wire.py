"""
Prints what the official tencentcloud-cls-sdk-python makes of some log entries: the bytes and the signature.

To be run in an environment of its own with that SDK installed; `tests/test_scf_log.py` has its output.
"""

import time

from tencentcloud.log.auth import signature
from tencentcloud.log.cls_pb2 import LogGroupList
from tencentcloud.log.logclient import lz_compresss

groups = LogGroupList()
group = groups.logGroupList.add()
group.source = "1.2.3.4"
for moment, fields in (
    (1_700_000_000_000_001, {"Level": "INFO", "Msg": "gr\u00fc\u00dfe"}),
    (1_700_000_000_000_002, {"k": ""}),
):
    log = group.logs.add()
    log.time = moment
    for key, value in fields.items():
        log.contents.add(key=key, value=value)
print(groups.SerializeToString().hex())
print(lz_compresss(groups.SerializeToString()).hex())
time.time = lambda: 1_700_000_000
headers = {"Content-Type": "application/x-protobuf", "Host": "h.example", "x-cls-compress-type": "lz4"}
print(signature("AKID", "SECRET", "POST", "/structuredlog", {"topic_id": "t/1"}, headers, 300))
