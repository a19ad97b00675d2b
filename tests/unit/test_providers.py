"""The provider of a host: by its registrable domain, never by a part of its text."""

from __future__ import annotations

import csv
import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from publicsuffixlist import PublicSuffixList

from daybook import providers
from daybook.analysis.provider_lookup import explain
from daybook.cli.answers import provider
from daybook.errors import BadInput
from daybook.providers import ALIASES_FILE, BUCKETS, aliases, map_version, resolve


@pytest.mark.parametrize(
    ("host", "name"),
    [
        *((f"user1.{one}.com", one) for one in ("comcast", "att", "google", "frontier", "cox", "earthlink")),
        ("c-73-1-2-3.hsd1.wa.comcast.net", "comcast"),
        ("cpe-1-2-3-4.nyc.res.rr.com", "charter"),
        ("p5DC0A1B2.dip0.t-ipconnect.de", "deutsche telekom"),
        ("host81-1-2-3.range81-1.btcentralplus.com", "bt"),
        ("p1234-ipngn.tokyo.ocn.ne.jp", "ntt"),
        ("user1.BLUEYONDER.co.uk..", "virgin media"),
        ("123.sub-174-192-1.myvzw.com", "verizon"),
        ("mobile-166-170-1-2.mycingular.net", "att"),
        ("ip-66-87-1-2.smrtpa.spcsdns.net", "t-mobile us"),
        ("c83-250-1-2.bredband.comhem.se", "tele2"),
        ("net-2-34-1-2.cust.vodafonedsl.it", "vodafone italy"),
        ("12.1.2.3.broad.gz.gd.dynamic.163data.com.cn", "china telecom"),
        ("n058152001002.netvigator.com", "hkt"),
        ("static.vnpt.vn", "vnpt"),
        ("1-2-3-4.kyivstar.net", "kyivstar"),
        ("ti0012a400-1.bb.online.no", "telenor"),
        ("cm-84-210-1-2.get.no", "telia"),
        ("host-92-2-1-2.as43234.tiscali.co.uk", "talktalk"),
        ("dyndsl-091-248-001-002.ewe-ip-backbone.de", "ewe"),
        ("battle.net", "(unmapped)"),
        ("user1.seattlefiber.com", "(unmapped)"),
        ("att.com.example.org", "(unmapped)"),
        ("notcomcast.net", "(unmapped)"),
        ("müller.example.de", "(unmapped)"),
        ("xn--mller-kva.example.de", "(unmapped)"),
        ("_dmarc.att.com", "att"),
        ("203.0.113.9", "(ip address)"),
        ("010.1.1.1", "(ip address)"),
        ("1.2.3", "(ip address)"),
        ("2001:db8::1", "(ip address)"),
        ("2001:db8::a", "(ip address)"),
        ("[2001:db8::1]", "(ip address)"),
        ("fe80::1%eth0", "(ip address)"),
        ("9.113.0.203.in-addr.arpa", "(ip address)"),
        ("user1", "(bare name)"),
        ("co.uk", "(bare name)"),
        ("nas.local", "(bare name)"),
        ("pc.fritz.box", "(unmapped)"),
        ("user.lan", "(bare name)"),
        ("a..b", "(bare name)"),
        ("", "(missing)"),
        (" . ", "(missing)"),
        (None, "(missing)"),
    ],
)
def test_the_provider_of_a_host(host: str | None, name: str) -> None:
    assert resolve(host).provider == name


def test_an_internationalised_domain_is_named_as_the_list_has_it() -> None:
    assert resolve("user1.müller.de").domain == resolve("user1.xn--mller-kva.de").domain == "xn--mller-kva.de"
    assert resolve("user1.faß.de").domain == resolve("user1.xn--fa-hia.de").domain == "xn--fa-hia.de"
    assert resolve("user1.fass.de").domain == "fass.de"


@given(st.text(max_size=300) | st.from_regex(r"[a-z0-9._-]{0,60}\.(com|net|co\.uk|lan)", fullmatch=True))
def test_any_text_has_a_provider_and_writing_it_otherwise_changes_nothing(host: str) -> None:
    found = resolve(host)
    assert found.provider in BUCKETS or found.provider in aliases().values()
    assert (found.domain is None) == (found.provider in set(BUCKETS) - {"(unmapped)"})
    if host.isascii():
        assert resolve(host.upper()) == resolve(host + ".") == resolve(f" {host} ") == found


def rows() -> list[dict[str, str]]:
    with ALIASES_FILE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_alias_can_match_and_is_unique() -> None:
    suffixes = PublicSuffixList(only_icann=True, accept_unknown=False)
    domains = [row["domain"] for row in rows()]
    assert domains == sorted(set(domains))
    assert [domain for domain in domains if suffixes.privatesuffix(domain) != domain] == []
    names = {row["provider"] for row in rows()}
    assert [name for name in names if name != name.lower().strip() or not name or "(" in name] == []
    assert {"comcast", "att", "google", "frontier", "cox", "earthlink"} <= names


def test_the_version_names_rule_file_and_list(monkeypatch: pytest.MonkeyPatch) -> None:
    map_version.cache_clear()
    before = map_version()
    monkeypatch.setattr(providers, "RULE_VERSION", providers.RULE_VERSION + 1)
    map_version.cache_clear()
    assert map_version() != before
    map_version.cache_clear()
    assert "aliases" in before
    assert "suffixes" in before


def test_it_is_explained() -> None:
    assert explain("User53.ATT.com:5000") == {
        "host": "User53.ATT.com:5000",
        "kept": "user53.att.com",
        "domain": "att.com",
        "provider": "att",
        "why": "provider_aliases.csv maps att.com to it",
    }
    assert explain("seattlefiber.com")["why"].startswith("provider_aliases.csv has no line for the domain")
    with pytest.raises(BadInput, match=r"'<script>' is not a host name"):
        explain("<script>")


def test_the_command_answers_for_all_hosts_or_fails() -> None:
    done = CliRunner().invoke(provider, ["user1.cox.com", "203.0.113.9", "", "--json"])
    assert [row["provider"] for row in json.loads(done.output)] == ["cox", "(ip address)", "(missing)"]
    table = CliRunner().invoke(provider, ["user1.cox.com", "nas.local"]).output
    assert "cox" in table
    assert "no public top-level domain" in table
    refused = CliRunner().invoke(provider, ["user1.cox.com", "a b"])
    assert isinstance(refused.exception, BadInput)
    assert refused.output == ""
