"""The answers of the control plane, as types: programs read them as JSON, pages draw them.

Times are seconds since 1970 (UTC), durations milliseconds where the name ends so, money is in 10⁻⁹ USD. Nothing here
has a place for a secret.
"""

from __future__ import annotations

from llmhub_core.admin.views.base import Done, Page, View
from llmhub_core.admin.views.entries import (
    AffinityView,
    EntryView,
    ImportedKey,
    ImportView,
    KeyEntryView,
    MadeToken,
    ProbeView,
    ProviderEntryView,
    RouteEntryView,
    TokenEntryView,
)
from llmhub_core.admin.views.past import (
    AttemptView,
    BodyTextView,
    BodyView,
    DecisionView,
    LeftOut,
    RequestLine,
    RequestPage,
    RequestView,
    UsageLine,
    UsageView,
)
from llmhub_core.admin.views.people import (
    AdminTokenView,
    AuditBreak,
    AuditCheck,
    AuditView,
    MadeAdminToken,
    MadePerson,
    PersonView,
    SessionView,
    SetupView,
    UserView,
)
from llmhub_core.admin.views.running import (
    DeploymentView,
    HealthView,
    HoldView,
    KeyView,
    LearnedView,
    LevelView,
    Problem,
    ProviderView,
    Severity,
)
from llmhub_core.admin.views.setting import CandidateView, ExplainView, FitView, PluginView, ReloadView, SettingView

__all__ = [
    "AdminTokenView",
    "AffinityView",
    "AttemptView",
    "AuditBreak",
    "AuditCheck",
    "AuditView",
    "BodyTextView",
    "BodyView",
    "CandidateView",
    "DecisionView",
    "DeploymentView",
    "Done",
    "EntryView",
    "ExplainView",
    "FitView",
    "HealthView",
    "HoldView",
    "ImportView",
    "ImportedKey",
    "KeyEntryView",
    "KeyView",
    "LearnedView",
    "LeftOut",
    "LevelView",
    "MadeAdminToken",
    "MadePerson",
    "MadeToken",
    "Page",
    "PersonView",
    "PluginView",
    "ProbeView",
    "Problem",
    "ProviderEntryView",
    "ProviderView",
    "ReloadView",
    "RequestLine",
    "RequestPage",
    "RequestView",
    "RouteEntryView",
    "SessionView",
    "SettingView",
    "SetupView",
    "Severity",
    "TokenEntryView",
    "UsageLine",
    "UsageView",
    "UserView",
    "View",
]
