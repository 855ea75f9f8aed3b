"""Every abbreviation and term of art is explained on the page, and marked where it first stands."""

from __future__ import annotations

import html
import re
from pathlib import Path
from urllib.parse import urlparse

import pytest

from kdopt.campaign.federated_algorithms import ALGORITHM_FACTS
from kdopt.report.glossary import TERMS, find_terms
from kdopt.report.plotting import METHOD_STYLES

FILE_KINDS = {"CSV", "SVG", "PNG", "JSON"}
ABBREVIATION = re.compile(r"(?<![\w.])[A-Za-z]*[A-Z][A-Za-z]*[A-Z][A-Za-z]*(?:-[A-Z]+)*(?![\w=])")


def terms_of(text):
    return [term for term in TERMS if term.stands_in(text)]


@pytest.fixture(scope="module")
def page(whole):
    return Path(urlparse(whole).path).read_text()


@pytest.fixture(scope="module")
def text(page):
    """What people read of the sections."""
    body = page[page.index("<main") : page.index('<section id="words"')]
    return html.unescape(re.sub(r"<[^>]+>", " ", body))


def test_terms_are_in_order_and_each_has_a_meaning_of_one_sentence():
    words = [term.word for term in TERMS]
    assert words == sorted(set(words), key=str.lower)
    for term in TERMS:
        assert term in terms_of(term.word.removesuffix(" ...")), term.word
        assert len(term.meaning.split()) > 1 and not term.meaning.endswith("."), term.word


def test_every_method_and_federated_algorithm_is_a_term():
    labels = {style.label.removeprefix("Tuned ") for style in METHOD_STYLES.values()}
    labels |= {facts.label for facts in ALGORITHM_FACTS.values()}
    assert labels <= {word for term in TERMS for word in (term.word, term.word.capitalize())}


def test_every_abbreviation_of_a_page_with_every_stage_is_a_term(page, text):
    found = set(ABBREVIATION.findall(text)) - FILE_KINDS
    assert {"DP-KD", "DML", "FedAvg", "MB"} <= found
    assert [word for word in sorted(found) if not terms_of(word)] == []
    assert "compare.strong_margin" in text
    listed = html.unescape(page[page.index('<section id="words"') :])
    for term in terms_of(text):
        assert listed.count(f">{term.word}</dt>") == 1, term.word


def test_a_term_is_a_whole_word_and_abbreviations_keep_their_case():
    page = "<p title='oracle'>No DMLS, dml or t; Cells &amp; Holm&#39;s correction, DP-KD.</p>"
    words = [term.word for term in find_terms(page, "a Regret")]
    assert words == ["cell", "DP-KD", "Holm's correction", "regret"]


def test_terms_are_marked_where_they_first_stand_in_prose(visit, whole):
    page = visit(whole)
    page.wait_for_selector("#main abbr", state="attached")  # all are marked at once
    text = page.evaluate("document.getElementById('main').textContent.replace(/\\s+/g, ' ')")
    marked = page.locator("#main abbr").evaluate_all(
        "all => all.map((one) => [one.title, one.textContent])"
    )
    meanings = {term.meaning: term for term in TERMS}
    assert len(marked) == len(dict(marked)) > 20
    for meaning, word in marked:
        assert re.fullmatch(meanings[meaning].regex, word, re.IGNORECASE)
    assert "DML" in dict(marked).values()
    assert not page.locator(":is(a, button, h2, h3, option, th) abbr").count()
    plain = "for (const one of document.querySelectorAll('abbr')) one.replaceWith(one.textContent)"
    page.evaluate(plain)
    assert (
        page.evaluate("document.getElementById('main').textContent.replace(/\\s+/g, ' ')") == text
    )
