"""Checks of an agent's tool calls: schema, rules, origin of values, harm and intent, with repair and an audit log.

It may import `errors`, `core`, `models` and `rewards`; only `messages` imports LangChain. It does not know agents:
`langchain_sea.middleware` and `langchain_sea.tool_guard` put the checks into agents and chains.
"""

from langchain_sea.errors import PolicyError
from langchain_sea.safety.audit.audit_log import AuditLog, ReplayedRow, replay, verify
from langchain_sea.safety.checks import Action, Check, Decision, Finding, PerCallCheck
from langchain_sea.safety.conversation.context import CallContext, ContextMessage
from langchain_sea.safety.guard import RULES_ONLY, AuditSink, GuardPipeline, Repairer
from langchain_sea.safety.learned import HarmCheck, IntentCheck
from langchain_sea.safety.policy import GuardConfig, ToolRules
from langchain_sea.safety.provenance.check import ProvenanceCheck
from langchain_sea.safety.rules.check import RulesCheck
from langchain_sea.safety.tool_call import ToolCall
from langchain_sea.safety.tools.schema import SchemaCheck

__all__ = [
    "RULES_ONLY",
    "Action",
    "AuditLog",
    "AuditSink",
    "CallContext",
    "Check",
    "ContextMessage",
    "Decision",
    "Finding",
    "GuardConfig",
    "GuardPipeline",
    "HarmCheck",
    "IntentCheck",
    "PerCallCheck",
    "PolicyError",
    "ProvenanceCheck",
    "Repairer",
    "ReplayedRow",
    "RulesCheck",
    "SchemaCheck",
    "ToolCall",
    "ToolRules",
    "replay",
    "verify",
]
