"""Whether a tool call may run: layers, repair, the held-out verifier, the audit. Needs no LangChain.

`langchain_sea.middleware` and `langchain_sea.tool_guard` put it into agents and chains.
"""

from langchain_sea.safety.audit_log import AuditLog, replay, verify
from langchain_sea.safety.checks import Action, Check, Decision, Finding, PerCallCheck, PolicyError
from langchain_sea.safety.context import CallContext, ContextMessage
from langchain_sea.safety.guard import RULES_ONLY, GuardPipeline
from langchain_sea.safety.learned import HarmCheck, IntentCheck
from langchain_sea.safety.policy import GuardConfig, ToolRules
from langchain_sea.safety.provenance import ProvenanceCheck
from langchain_sea.safety.rules import RulesCheck
from langchain_sea.safety.schema import SchemaCheck
from langchain_sea.safety.tool_call import ToolCall

__all__ = [
    "RULES_ONLY",
    "Action",
    "AuditLog",
    "ToolCall",
    "Decision",
    "PerCallCheck",
    "HarmCheck",
    "GuardPipeline",
    "Check",
    "PolicyError",
    "ProvenanceCheck",
    "RulesCheck",
    "GuardConfig",
    "CallContext",
    "SchemaCheck",
    "ContextMessage",
    "ToolRules",
    "Finding",
    "IntentCheck",
    "replay",
    "verify",
]
