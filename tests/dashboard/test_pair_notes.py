from __future__ import annotations

from kdopt.campaign.names import index_study_name, study_name
from kdopt.dashboard.pair_index import note_pairs
from kdopt.report.blocks import ReportData
from kdopt.store import attributes
from kdopt.store.index_studies import NOTE_KEY, StudyNote, write_study_notes
from tests.analysis.synthetic import make_campaign, make_rows


def test_a_pairs_note_says_its_verdict_and_links_to_all_pairs():
    campaign = make_campaign(name="toy")
    data = ReportData(campaign, make_rows(campaign))
    lines = data.tables.verdicts.to_dict("records")
    decided = [line for line in lines if line["action"] != "undecided"]
    names = {
        study_name("toy", line["partition"], "tune", line["teacher"], line["student"]): n
        for n, line in enumerate(decided)
    }
    partition = decided[0]["partition"]
    ids = {**names, index_study_name("toy", partition): 99}
    notes = note_pairs(data, ids)
    assert [note.study_id for note in notes] == list(range(len(decided)))
    for note, line in zip(notes, decided, strict=True):
        assert note.verdict.startswith(line["action"])
        assert note.note.startswith(f"# t{line['teacher']:02d}-s{line['student']:02d}: ")
        assert ("/dashboard/studies/99" in note.note) == (line["partition"] == partition)


def test_notes_are_written_once_and_those_of_people_stay(store):
    with store.write() as connection:
        for number in (1, 2):
            connection.exec_driver_sql(
                f"INSERT INTO studies (study_id, study_name) VALUES ({number}, 'toy/{number}')"
            )
        theirs = {2: {NOTE_KEY: "my own words"}}
        attributes.write_attributes(connection, "study_system_attributes", theirs)
    notes = [StudyNote(number, "distil", "# first") for number in (1, 2)]
    assert write_study_notes(store, notes) == 1
    assert write_study_notes(store, notes) == 0
    assert write_study_notes(store, [note._replace(note="# second") for note in notes]) == 1
    rows = store.select_rows(
        "SELECT study_id, value_json FROM study_system_attributes "
        f"WHERE key = '{NOTE_KEY}' ORDER BY study_id"
    )
    assert [tuple(row) for row in rows] == [(1, '"# second"'), (2, '"my own words"')]
