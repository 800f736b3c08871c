"""The configuration: the sections of a YAML file, in the order of a round.

An unknown key is refused with the nearest known one, or with its new name. `funreason config show` prints a
configuration with every default spelled out.
"""

from __future__ import annotations

from funreason.config.augmentation import Augment
from funreason.config.gate import Contamination, Gate, Suite
from funreason.config.hard_data import HardData
from funreason.config.judges import AgentEntry, Canaries, Fcdr, JudgeKind, LlmJudges, Stages
from funreason.config.method import Method, PolicyUpdate, Reinforcement
from funreason.config.models import BudgetLimits, Data, Endpoint, Model, References, Sampling, Tasks, Vllm
from funreason.config.reading import (
    Config,
    check_config,
    dump_config,
    find_config,
    load_config,
    parse_setting,
    read_yaml_file,
    with_changes,
)
from funreason.config.section import COMPOSED, CONFIGS, OWN_TASKS, TOOLBOX, ConfigError, Section
from funreason.config.updates import Launch, Lora, SupervisedStart, Train, Update

__all__ = [
    "COMPOSED",
    "CONFIGS",
    "OWN_TASKS",
    "TOOLBOX",
    "AgentEntry",
    "Augment",
    "BudgetLimits",
    "Canaries",
    "Config",
    "ConfigError",
    "Contamination",
    "Data",
    "Endpoint",
    "Fcdr",
    "Gate",
    "HardData",
    "JudgeKind",
    "Launch",
    "LlmJudges",
    "Lora",
    "Method",
    "Model",
    "PolicyUpdate",
    "References",
    "Reinforcement",
    "Sampling",
    "Section",
    "Stages",
    "Suite",
    "SupervisedStart",
    "Tasks",
    "Train",
    "Update",
    "Vllm",
    "check_config",
    "dump_config",
    "find_config",
    "load_config",
    "parse_setting",
    "read_yaml_file",
    "with_changes",
]
