"""The report on a server or a file: as tables, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from moorings.certificates.enums import ChainValidationResult
from moorings.certificates.verify_codes import IGNORABLE
from moorings.cli.cert_show.facts import MEANINGS
from moorings.cli.output import print_json, print_table

if TYPE_CHECKING:
    from datetime import datetime

    from moorings.cli.cert_show.facts import CertificateFacts, Verdict

ACCEPTABLE = "acceptable"


class Report(NamedTuple):
    """Everything that is shown."""

    #: What is looked at, as the user wrote it.
    target: str
    #: The name that was checked; None for none.
    name: str | None
    #: Lines about the server or the file: a label, and what was found.
    about: list[tuple[str, str]]
    #: The same for programs.
    values: dict[str, Any]
    verdict: Verdict
    certificates: list[CertificateFacts]
    #: Who is trusted, in words.
    trust: str
    now: datetime

    @property
    def complaint(self) -> str:
        """One line on what is wrong with the certificate; "" for nothing."""
        if not self.verdict.errors:
            return ""
        names = ", ".join(each.name for each in self.verdict.errors)
        whose = f" for {self.name!r}" if self.name is not None else ""
        return f"{self.target}: the certificate{whose} is not acceptable: {names}"


def show_json(report: Report) -> None:
    """For programs."""
    verdict = report.verdict
    print_json(
        {
            "target": report.target,
            **report.values,
            "name_checked": report.name,
            "trust": report.trust,
            **verdict.as_json(),
            "expires_in_days": verdict.expires_in_days(report.now),
            "certificates": [each.as_json() for each in report.certificates],
        }
    )


def show(report: Report) -> None:
    """For people: what was seen and the verdict, the errors, and each certificate."""
    verdict = report.verdict
    refused = f"not {ACCEPTABLE}, severity {verdict.severity}"
    word = refused if verdict.errors else ACCEPTABLE
    rows = [*report.about, ("trusted", report.trust), ("leads to", _path(verdict)), ("verdict", word)]
    days = verdict.expires_in_days(report.now)
    if days is not None and verdict.expires is not None:
        rows.append(("expires", f"{_days(days)} ({_moment(verdict.expires)})"))
    styles = {ACCEPTABLE: "green", refused: "bold red"}
    print_table(("about", "found"), rows, styles=styles, fold=True)
    if verdict.errors:
        print()
        print_table(
            ("error", "may be ignored", "meaning"),
            [(each.name, "yes" if each in IGNORABLE else "no", _meaning(each, report)) for each in verdict.errors],
            fold=True,
        )
    for number, each in enumerate(report.certificates, 1):
        print()
        print_table((f"certificate {number}", each.role), _rows(each), fold=True)


def _path(verdict: Verdict) -> str:
    if not verdict.path:
        return "nobody"
    last = verdict.path[-1]
    if verdict.is_trusted:
        return f"{last}, which is trusted"
    return f"{last}, which vouches for itself" if verdict.is_self_signed else f"{last}, whose issuer is missing"


def _meaning(error: ChainValidationResult, report: Report) -> str:
    meaning = MEANINGS[error]
    if error == ChainValidationResult.INVALID_NAME and report.name is not None:
        return f"{meaning} than {report.name!r}"
    return meaning


def _days(days: int) -> str:
    if days < 0:
        return "expired less than a day ago" if days == -1 else f"expired {-days - 1} days ago"
    return "in less than a day" if days == 0 else "in 1 day" if days == 1 else f"in {days} days"


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _rows(facts: CertificateFacts) -> list[tuple[str, str]]:
    if facts.problem:
        return [("problem", facts.problem), ("SHA-256", facts.sha256)]
    assert facts.valid_from is not None
    assert facts.valid_to is not None
    allowed = ", ".join((*facts.usages, *facts.key_usages))
    rows = [
        ("subject", facts.subject or "none"),
        ("names", ", ".join(facts.names)),
        ("issuer", facts.issuer or "none"),
        ("valid from", _moment(facts.valid_from)),
        ("valid to", f"{_moment(facts.valid_to)}, {_days(facts.days_left)}"),
        ("key", facts.key),
        ("signature", facts.signature),
        ("usage", allowed),
        ("serial", facts.serial),
        ("SHA-256", facts.sha256),
        ("pin", facts.pin),
    ]
    return [row for row in rows if row[1]]
