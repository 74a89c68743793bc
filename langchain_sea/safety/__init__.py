"""Whether a tool call may run: layers, repair, the held-out verifier, the audit. Needs no LangChain.

`langchain_sea.middleware` and `langchain_sea.tool_guard` put it into agents and chains.
"""

from langchain_sea.safety.audit_log import Audit, replay, verify
from langchain_sea.safety.checks import Action, Decision, Each, Layer, PolicyError, Verdict
from langchain_sea.safety.context import Scene, Source
from langchain_sea.safety.guard import RULES_ONLY, Judge
from langchain_sea.safety.learned import HarmLayer, WishLayer
from langchain_sea.safety.policy import SafetyPolicy, ToolPolicy
from langchain_sea.safety.provenance import ProvenanceLayer
from langchain_sea.safety.rules import RulesLayer
from langchain_sea.safety.schema import SchemaLayer
from langchain_sea.safety.tool_call import Call

__all__ = [
    "RULES_ONLY",
    "Action",
    "Audit",
    "Call",
    "Decision",
    "Each",
    "HarmLayer",
    "Judge",
    "Layer",
    "PolicyError",
    "ProvenanceLayer",
    "RulesLayer",
    "SafetyPolicy",
    "Scene",
    "SchemaLayer",
    "Source",
    "ToolPolicy",
    "Verdict",
    "WishLayer",
    "replay",
    "verify",
]
