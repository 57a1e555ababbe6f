"""``cloudcached lifecycle``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import click

from ..config import Config
from ..maintenance.lifecycle import Lifecycle, Plan, Rule
from .output import printable, show_json, show_table
from .target import CacheCommand, Target, as_json_option, yes_option

_tags = click.option("--tags/--no-tags", default=None, help="Rules by expiry tag.  [default: the option expiry_tags]")
_max_age = click.option(
    "--max-age",
    "max_age",
    type=click.IntRange(1),
    metavar="DAYS",
    help="Rules by age, for all entries.  [default: the option max_age_days]",
)
_dry_run = click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing, as plan does.")
_SIGNS: Final = {"add": "+", "change": "~", "remove": "-", "same": "="}
_COLOURS: Final = {"+": "green", "~": "yellow", "-": "red"}


@click.group()
def lifecycle() -> None:
    """Let S3 itself remove expired entries, through lifecycle rules.

    The rules cover the entries of this one cache only. The bucket's other rules stay as they are.
    """


@lifecycle.command(cls=CacheCommand)
@as_json_option
@click.pass_obj
def show(target: Target, /, *, as_json: bool) -> None:
    """Print this cache's rules, and warn about client options that do not match them."""
    config = target.checked()
    ours = Lifecycle(config).ours()
    if as_json:
        show_json({"rules": list(ours), "advice": list(advice_on(config, ours))})
        return
    if ours:
        _show_rules(("=", rule) for rule in ours)
    else:
        click.echo(f"there are no rules for {config.url}; `cloudcached lifecycle plan` shows what apply would do")
    for advice in advice_on(config, ours):
        click.echo(advice, err=True)


@lifecycle.command(cls=CacheCommand)
@_tags
@_max_age
@as_json_option
@click.pass_obj
def plan(target: Target, /, *, as_json: bool, **given: Any) -> None:
    """Print what apply would do."""
    config = target.checked()
    _show_plan(Lifecycle(config).plan(**_by(config, **given)), as_json=as_json)


@lifecycle.command(cls=CacheCommand)
@_tags
@_max_age
@yes_option
@_dry_run
@as_json_option
@click.pass_obj
def apply(target: Target, /, *, yes: bool, dry_run: bool, as_json: bool, **given: Any) -> None:
    """Write the rules. Running it again changes nothing.

    Needs s3:PutLifecycleConfiguration, a permission that the cache itself does not need.
    """
    config = target.checked()
    rules, by = Lifecycle(config), _by(config, **given)
    _do(lambda: rules.plan(**by), lambda: rules.apply(**by), yes=yes, dry_run=dry_run, as_json=as_json)


@lifecycle.command(cls=CacheCommand)
@yes_option
@_dry_run
@as_json_option
@click.pass_obj
def remove(target: Target, /, *, yes: bool, dry_run: bool, as_json: bool) -> None:
    """Remove this cache's rules, and no others."""
    rules = Lifecycle(target.checked())
    _do(rules.plan_removal, rules.remove, yes=yes, dry_run=dry_run, as_json=as_json)


def _by(config: Config, tags: bool | None, max_age: int | None) -> dict[str, Any]:
    """Return the arguments of ``Lifecycle.plan``: from the command line, or else from the client's options."""
    if tags is None and max_age is None:
        return {"tags": config.expiry_tags, "max_age_days": config.max_age_days}
    return {"tags": bool(tags), "max_age_days": max_age}


def _do(look: Callable[[], Plan], act: Callable[[], Plan], *, yes: bool, dry_run: bool, as_json: bool) -> None:
    if dry_run:
        _show_plan(look(), as_json=as_json)
        return
    if not yes:
        planned = look()
        if planned.changes:
            _show_plan(planned, as_json=False, err=True)
            click.confirm("Write these rules?", abort=True, err=True)
    _show_plan(act(), as_json=as_json, done=True)


def _show_plan(plan: Plan, *, as_json: bool, done: bool = False, err: bool = False) -> None:
    if as_json:
        show_json({**plan.as_dict(), "done": done and plan.changes})
        return
    if not err:
        _show_rules((sign, rule) for name, sign in _SIGNS.items() for rule in getattr(plan, name))
    if not plan.changes:
        click.echo(f"nothing to do; {_others(plan)}", err=err)
        return
    words = ("added", "changed", "removed") if done else ("to add", "to change", "to remove")
    counts = [
        f"{len(getattr(plan, name))} {word}" for name, word in zip(("add", "change", "remove"), words, strict=True)
    ]
    click.echo(f"{', '.join(counts)}; {_others(plan)}", err=err)
    for name in plan.rewritten:
        click.echo(f"the other rule {printable(name)} is rewritten in the newer form, which means the same", err=err)


def _others(plan: Plan) -> str:
    count = len(plan.others)
    return f"{count} other rule stays" if count == 1 else f"{count} other rules stay"


def _show_rules(rows: Iterable[tuple[str, Rule]]) -> None:
    """Print rules. Of rules that differ only in their segment, print one and the number of the others."""
    folded: dict[tuple[str, str, str], list[Rule]] = {}
    for sign, rule in rows:
        kind = rule["ID"].rpartition(":")[2]
        kind = "entries" if kind.startswith("entries-") else kind
        folded.setdefault((sign, kind, _actions(rule)), []).append(rule)
    shown = [
        (sign, rule[0]["ID"] + (f" and {len(rule) - 1} like it" if len(rule) > 1 else ""), _names(rule[0]), what)
        for (sign, _, what), rule in folded.items()
    ]
    show_table(("", "rule", "objects", "action"), shown, styles=_COLOURS)


def _names(rule: Rule) -> str:
    named = rule.get("Filter") or {"Prefix": rule.get("Prefix", "")}
    named = named.get("And") or named
    tags = [*named.get("Tags", ()), *([named["Tag"]] if "Tag" in named else [])]
    return " ".join([named.get("Prefix", ""), *(f"{tag['Key']}={tag['Value']}" for tag in tags)]).strip()


def _actions(rule: Rule) -> str:
    found = []
    expiration = rule.get("Expiration", {})
    if "Days" in expiration:
        found.append(f"remove after {expiration['Days']} d")
    if expiration.get("ExpiredObjectDeleteMarker"):
        found.append("remove lone delete markers")
    if "NoncurrentVersionExpiration" in rule:
        found.append(f"remove old versions after {rule['NoncurrentVersionExpiration'].get('NoncurrentDays')} d")
    if "AbortIncompleteMultipartUpload" in rule:
        days = rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
        found.append(f"abort unfinished uploads after {days} d")
    return ", ".join(found) + ("" if rule.get("Status") == "Enabled" else " (disabled)")


def advice_on(config: Config, ours: Iterable[Rule]) -> Iterable[str]:
    """Yield one sentence for each mismatch between the client's options and the rules."""
    names = {rule["ID"].rpartition(":")[2]: rule for rule in ours}
    ages = [rule["Expiration"]["Days"] for name, rule in names.items() if _is_by_age(name, rule)]
    if ages and (config.max_age_days is None or config.max_age_days > min(ages)):
        option = "is not set" if config.max_age_days is None else f"is {config.max_age_days}"
        yield f"rules remove entries after {min(ages)} days, but max_age_days {option}: longer-lived entries end early"
    if config.max_age_days is not None and not ages:
        yield f"max_age_days is {config.max_age_days}, but no rule removes entries by age"
    if config.expiry_tags and not any(name.startswith("ttl-") for name in names):
        yield "entries carry tags (expiry_tags), but no rule uses them"


def _is_by_age(name: str, rule: Rule) -> bool:
    return name.startswith("entries-") and "Days" in rule.get("Expiration", {})
