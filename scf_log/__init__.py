"""
Logs of a plugin's process in Tencent CLS (Cloud Log Service).

::

    from scf_log import setup_cls_logging

    handler = setup_cls_logging(config_path="config.yaml")      # its plugin.cls, or its top level
    handler.set_context_fields(nodeID="node-abc", version="v1.0.0")
    logging.getLogger("collector").info("collected", extra={"symbol": "BTC-USDT"})

A room of its own: it imports nothing of scfd, and needs what ``pip install 'scfd[cls]'`` brings.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from scf_log.config import CLSConfig
from scf_log.handler import TIME_FORMAT, CLSHandler
from scf_log.producer import AsyncProducer

__all__ = ["AsyncProducer", "CLSConfig", "CLSHandler", "setup_cls_logging"]


def setup_cls_logging(
    config_path: str | None = None,
    config_dict: Mapping[str, Any] | None = None,
    config: CLSConfig | None = None,
    level: int | str = logging.DEBUG,
    logger_name: str | None = None,
    cls_key: str = "cls",
    time_format: str = TIME_FORMAT,
) -> CLSHandler:
    """
    Send what is logged to CLS from here on.

    :param config_path: a YAML file with the settings in ``plugin.cls``, ``cls`` or at its top level.
    :param config_dict: the settings themselves; wins over the file.
    :param config: the settings, made; wins over both.
    :param level: below it nothing is sent. The logger's own level is lowered to it where it is higher.
    :param logger_name: whose records; None for the root logger's, which are all.
    :param cls_key: the name of the section in the file.
    :param time_format: of the field ``Time``, as `time.strftime` has it.
    :returns: the handler, which has been added to the logger.
    :raises ValueError: when settings are missing or wrong: all of them in one line.
    """
    if config is None:
        if config_dict is not None:
            config = CLSConfig.from_dict(config_dict)
        elif config_path is not None:
            config = CLSConfig.from_yaml(config_path, cls_key)
        else:
            raise ValueError("scf_log: expected one of config_path, config_dict and config")
    config.validate()
    handler = CLSHandler(config, level, time_format)
    logger = logging.getLogger(logger_name)
    logger.addHandler(handler)
    if logger.level == logging.NOTSET or logger.level > handler.level:
        logger.setLevel(handler.level)
    return handler
