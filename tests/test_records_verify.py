# ruff: noqa: E501 - sentences are data
"""What may stand in a report: faithful sentences pass, everything else is flagged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from endostream.records.facts import BlindReason, Facts, Preparation, Sighting
from endostream.records.quality import Indicator
from endostream.records.report.prose import template_sentences
from endostream.records.report.verify import Verifier, split_sentences
from endostream.vocabulary import term


def sighting(
    kind: str, id_: int, label: str, start: float, end: float, score: float, **more: object
) -> Sighting:
    values: dict[str, object] = {"still": None, "review": "pending", "unreliable": False, **more}
    meaning = term(label)
    return Sighting(kind, id_, label, meaning.role, meaning.say, start, end, start + 1.0, score, **values)  # type: ignore[arg-type]


FACTS = Facts(
    source="clip.mp4",
    independent=False,
    pack={"name": "polyp", "version": "1.0", "sha256": "ab"},
    exam="lower",
    finish="completed",
    interrupted=False,
    duration_s=60.0,
    frames={"captured": 1500, "analysed": 1498, "dropped": 2, "skipped": 0, "pending": 0},
    dropped={"busy": 2},
    findings=(
        sighting("finding", 1, "polyps", 20.5, 23.6, 0.96, review="confirmed", still="stills/1.png"),
        sighting("finding", 2, "polyps", 39.0, 43.0, 0.91),
        sighting("finding", 3, "ulcerative-colitis-grade-2", 50.0, 52.5, 0.66, unreliable=True),
    ),
    landmarks=(sighting("landmark", 1, "cecum", 14.0, 16.0, 0.9),),
    rejected=1,
    blind=(BlindReason("outside", 2, 6.5), BlindReason("blurred", 1, 2.5)),
    blind_s=9.0,
    preparation=Preparation(276, 300, {"bbps-0-1": 24, "bbps-2-3": 276}),
    therapy_s=3.9,
    therapy_labels=("dyed-lifted-polyps",),
    quality=(
        Indicator("insertion_time", 12.5, "s"),
        Indicator("withdrawal_time", 39.0, "s"),
        Indicator("effective_withdrawal_time", 32.6, "s"),
    ),
    labels=(
        "background",
        "polyps",
        "cecum",
        "ileum",
        "bbps-0-1",
        "bbps-2-3",
        "hemorrhoids",
        "retroflex-rectum",
        "dyed-lifted-polyps",
        "ulcerative-colitis-grade-2",
        "ulcerative-colitis-grade-3",
    ),
    unreliable=("hemorrhoids", "ulcerative-colitis-grade-2"),
    warnings=(),
    phi_mask="none",
)
EMPTY = replace(
    FACTS, findings=(), landmarks=(), rejected=0, blind=(), blind_s=0.0, preparation=None, therapy_s=0.0,
    therapy_labels=(), quality=(), dropped={}, unreliable=("hemorrhoids",),
    frames={"captured": 26, "analysed": 26, "dropped": 0, "skipped": 0, "pending": 0},
)  # fmt: skip
ONE = replace(
    EMPTY, findings=(sighting("finding", 1, "polyps", 0.28, 2.4, 0.973),), duration_s=2.6, labels=("background", "polyps"),
    unreliable=(),
)  # fmt: skip

FAITHFUL: list[tuple[Facts, str, tuple[str, ...]]] = [
    (FACTS, "A total of 1498 of 1500 frames were analysed and 2 frames were dropped.", ()),
    (FACTS, "Two frames were dropped during the analysis.", ()),
    (FACTS, "The analysis covered 01:00 of video and completed.", ()),
    (FACTS, "Three findings were recorded.", ()),
    (FACTS, "Two polyp candidates were seen.", ("finding:1", "finding:2")),
    (FACTS, "A polyp candidate was seen from 00:20.5 to 00:23.6 with a peak score of 0.96.", ("finding:1",)),
    (FACTS, "Finding 2 is a polyp candidate seen between 39.0 and 43.0 seconds.", ("finding:2",)),
    (FACTS, "A polyp candidate was seen at 00:20 (score 0.96) and at 00:39 (score 0.91).", ("finding:1", "finding:2")),
    (FACTS, "The second polyp candidate lasted 4.0 s and peaked at 00:40 with a confidence of 91 %.", ("finding:2",)),
    (FACTS, "At 00:39 a polyp candidate was detected.", ("finding:2",)),
    (FACTS, "Finding 1 (polyps) was confirmed by a human reviewer.", ("finding:1",)),
    (FACTS, "Finding 2 has not yet been reviewed.", ("finding:2",)),
    (FACTS, "One polyp candidate was confirmed.", ("finding:1",)),
    (FACTS, "One finding was rejected.", ()),
    (FACTS, "The caecum was suggested at 00:14 with a score of 0.90.", ("landmark:1",)),
    (FACTS, "One landmark was documented: caecum suggested from 14 s to 16 s.", ("landmark:1",)),
    (FACTS, "Finding 3 shows an appearance of colitis, Mayo 2, from 00:50 to 00:52.", ("finding:3",)),
    (FACTS, "This class (ulcerative-colitis-grade-2) is unreliable.", ("finding:3",)),
    (FACTS, "For 9.0 s (15 %) nothing could be judged.", ()),
    (FACTS, "The view could not be judged for 9 seconds: 6.5 s outside and 2.5 s blurred.", ()),
    (FACTS, "Preparation was adequate in 92 % of 300 judged frames.", ()),
    (FACTS, "Therapy was in progress for 3.9 s.", ()),
    (FACTS, "The estimated withdrawal time was 00:39 and the effective withdrawal time was 32.6 s.", ()),
    (FACTS, "The estimated insertion time was 12.5 seconds.", ()),
    (FACTS, "No further findings were recorded.", ()),
    (FACTS, "The ileum was not documented.", ()),
    (FACTS, "No retroflexed rectum was documented.", ()),
    (FACTS, "No frames were skipped.", ()),
    (FACTS, "This summary is for research use only and not for diagnosis.", ()),
    (FACTS, "The first polyp candidate (finding 1) was observed from 00:20.5 to 00:23.6, with a peak confidence of 0.96 at 00:21.5, and has been confirmed.", ("finding:1",)),
    (FACTS, "Two polyp candidates were identified: the first at 00:20 (peak confidence 0.96) and the second at 00:39 (peak confidence 0.91).", ("finding:1", "finding:2")),
    (FACTS, "Finding 2, a polyp candidate, was seen from 39.0 s to 43.0 s with peak confidence 0.91 and is pending review.", ("finding:2",)),
    (FACTS, "Blind time totalled 9.0 seconds (15% of the examination).", ()),
    (FACTS, "The preparation was adequate in 276 of 300 frames (92 %).", ()),
    (FACTS, "Of 1500 captured frames, 1498 were analysed and 2 were dropped.", ()),
    (FACTS, "A landmark, the caecum, was suggested between 00:14 and 00:16 with a peak confidence of 0.9.", ("landmark:1",)),
    (FACTS, "Finding 3 suggests an appearance of colitis, Mayo 2, but this class is unreliable.", ("finding:3",)),
    (FACTS, "Three findings and one landmark were recorded in a video of 1 minute.", ()),
    (FACTS, "There were two polyp candidates and one appearance of colitis, Mayo 2.", ("finding:1", "finding:2", "finding:3")),
    (FACTS, "1498 frames were analysed over 60.0 s.", ()),
    (FACTS, "A polyp candidate was seen twice.", ("finding:1", "finding:2")),
    (EMPTY, "No finding was opened.", ()),
    (EMPTY, "No findings and no landmarks were recorded.", ()),
    (EMPTY, "No polyp candidate was detected.", ()),
    (EMPTY, "Polyps were not seen.", ()),
    (EMPTY, "All 26 frames were analysed and none were dropped.", ()),
    (EMPTY, "All frames were analyzed.", ()),
    (EMPTY, "The analysis found 0 findings in 26 frames.", ()),
    (ONE, "One polyp candidate was detected between 0.28 s and 2.4 s, with a peak confidence of 0.97.", ("finding:1",)),
    (ONE, "A polyp candidate was seen with a peak probability of 0.97.", ("finding:1",)),
    (ONE, "The only finding is a polyp candidate.", ("finding:1",)),
    (ONE, "A single polyp candidate appears from 00:00 to 00:02.", ("finding:1",)),
    (ONE, "A polyp was detected with 97.3% confidence.", ("finding:1",)),
    (ONE, "The video of 2.6 seconds was analysed in all 26 frames.", ()),
    (ONE, "During the examination, one finding labelled polyps was observed, starting at 0.28 s and ending at 2.4 s.",
     ("finding:1",)),
]  # fmt: skip

UNFAITHFUL: list[tuple[Facts, str, str]] = [
    # numbers
    (FACTS, "Three polyp candidates were seen.", "'3'"),
    (FACTS, "One polyp candidate was seen.", "'1'"),
    (FACTS, "Four findings were recorded.", "'4'"),
    (FACTS, "A polyp candidate was seen at 00:25.", "00:25"),
    (FACTS, "A polyp candidate was seen from 00:20.5 to 00:43.", "00:43"),
    (FACTS, "A polyp candidate was seen from 20.5 to 39 s.", "39"),
    (FACTS, "A polyp candidate was seen at 00:20 with a score of 0.91.", "0.91"),
    (FACTS, "The polyp candidate at 00:39 had a confidence of 96 %.", "96"),
    (FACTS, "The caecum was suggested at 00:20.", "00:20"),
    (FACTS, "A polyp candidate was seen at 00:14 and the caecum at 00:20.", "00:14"),
    (FACTS, "The polyp candidate peaked at 00:20.5.", "00:20.5"),
    (FACTS, "The polyp candidate began at 00:23.6.", "00:23.6"),
    (FACTS, "The polyp candidate lasted 20.5 s.", "20.5"),
    (FACTS, "1400 of 1500 frames were analysed.", "'1400'"),
    (FACTS, "1500 frames were analysed.", "'1500'"),
    (FACTS, "Twenty frames were dropped.", "'20'"),
    (FACTS, "For 12 s nothing could be judged.", "12 s"),
    (FACTS, "The view was blurred for 6.5 s.", "6.5 s"),
    (FACTS, "Preparation was adequate in 95 % of frames.", "95"),
    (FACTS, "Preparation was inadequate in 92 % of frames.", "92"),
    (FACTS, "The withdrawal time was 12.5 s.", "12.5"),
    (FACTS, "The effective withdrawal time was 39 s.", "39"),
    (FACTS, "Therapy was in progress for 5 s.", "5 s"),
    (FACTS, "Finding 7 is a polyp candidate.", "finding 7"),
    (FACTS, "Finding 3 is a polyp candidate at 00:20.", "00:20"),
    (FACTS, "The third polyp candidate was seen.", "third"),
    (FACTS, "A polyp candidate was seen twice and the caecum was seen twice.", "'twice'"),
    (FACTS, "A polyp candidate was seen 3 times.", "'3'"),
    (FACTS, "Both findings were recorded.", "'both'"),
    (FACTS, "The only finding is a polyp candidate.", "'only'"),
    (FACTS, "All frames were analysed.", "'all'"),
    (FACTS, "All findings were confirmed.", "'confirmed'"),
    (FACTS, "The analysis ended at 5.", "'5'"),
    (FACTS, "A polyp candidate of 5 mm was seen.", "'mm'"),
    (FACTS, "Several polyp candidates were seen.", "vague"),
    (FACTS, "A polyp candidate was seen in a third of the video.", "third"),
    (ONE, "A polyp candidate was detected with a confidence of 0.99.", "0.99"),
    (ONE, "Two polyps were found.", "'2'"),
    # classes, invented findings, synonyms
    (FACTS, "Haemorrhoids were seen at 00:50.", "haemorrhoids"),
    (FACTS, "The terminal ileum was reached.", "terminal ileum"),
    (FACTS, "An appearance of colitis, Mayo 3, was seen.", "mayo 3"),
    (FACTS, "Mayo 3 colitis was found.", "mayo 3"),
    (ONE, "Colitis was seen.", "colitis"),
    (ONE, "A pylorus was seen.", "pylorus"),
    (ONE, "Barrett's oesophagus was found.", "barrett"),
    (ONE, "A diverticulum was seen.", "'diverticulum'"),
    (ONE, "An angiectasia was seen at 0.28 s.", "'angiectasia'"),
    (ONE, "The finding is a hamartoma.", "'hamartoma'"),
    (ONE, "A landmark was documented.", "landmark"),
    (EMPTY, "A finding was recorded.", "finding"),
    (EMPTY, "A polyp candidate was seen.", "polyp candidate"),
    (ONE, "Impacted stool was seen.", "stool"),
    (ONE, "Therapy was in progress.", "'therapy'"),
    # sides, places, scales, histology, size, advice, persons
    (FACTS, "A polyp candidate was seen in the left colon.", "side"),
    (FACTS, "A polyp candidate was seen in the sigmoid.", "place"),
    (FACTS, "A polyp candidate of Paris type 0-Is was seen.", "scale"),
    (FACTS, "A NICE 2 polyp candidate was seen.", "scale"),
    (FACTS, "A Forrest class was seen.", "scale"),
    (FACTS, "Oesophagitis LA grade A was seen.", "oesophagitis"),
    (FACTS, "The polyp candidate is an adenoma.", "histology"),
    (FACTS, "The polyp candidate appears benign.", "histology"),
    (FACTS, "The adenoma detection rate was computed.", "histology"),
    (FACTS, "A small polyp candidate was seen.", "size"),
    (FACTS, "A biopsy of the polyp candidate is recommended.", "histology"),
    (FACTS, "Follow-up is recommended.", "advises"),
    (FACTS, "The examination was normal.", "judges"),
    (FACTS, "The examination was complete.", "judges"),
    (FACTS, "The polyp candidate was removed.", "judges"),
    (FACTS, "A polyp candidate was clearly seen.", "judges"),
    (FACTS, "The patient was examined.", "person"),
    (FACTS, "John Smith was examined.", "'john'"),
    (FACTS, "A polyp candidate was seen after the caecum.", "order"),
    (FACTS, "Bleeding was seen.", "not in the facts"),
    (FACTS, "The preparation was adequate.", "share"),
    (FACTS, "A polyp candidate was seen during withdrawal.", "withdrawal"),
    # negations and states
    (FACTS, "No polyp was seen.", "denies"),
    (FACTS, "There was no evidence of a polyp.", "denies"),
    (FACTS, "There was no sign of a polyp.", "denies"),
    (FACTS, "Polyps were not detected.", "denies"),
    (FACTS, "Polyps were absent.", "denies"),
    (FACTS, "The caecum was not documented.", "not documented|denies|documented"),
    (FACTS, "The caecum was never seen.", "denies"),
    (FACTS, "Neither polyps nor landmarks were seen.", "denies"),
    (FACTS, "No findings were recorded.", "denies"),
    (FACTS, "Nothing was found.", "hold"),
    (FACTS, "No haemorrhoids were seen.", "cannot rule out"),
    (FACTS, "No oesophagitis was seen.", "cannot rule out"),
    (FACTS, "No frames were dropped.", "denies"),
    (FACTS, "None were rejected.", "otherwise"),
    (FACTS, "The analysis ran without blind time.", "denies"),
    (FACTS, "The analysis was stopped.", "'stopped'"),
    (FACTS, "The analysis failed.", "'failed'"),
    (FACTS, "Finding 2 was confirmed.", "'confirmed'"),
    (FACTS, "Finding 1 has not been reviewed.", "'reviewed'"),
    (FACTS, "Finding 1 is unreliable.", "'unreliable'"),
    (FACTS, "The upper examination showed a polyp candidate.", "'upper'"),
    # what nothing links
    (FACTS, "Two polyp candidates were seen at 00:20 and 00:21.", ""),
    (FACTS, "A polyp candidate was seen from 00:14 to 00:16 with a score of 0.90.", ""),
    (FACTS, "Polyp candidates were seen for 60 s.", ""),
    (FACTS, "A polyp candidate was seen during 9.0 s of blind time.", ""),
    (FACTS, "The polyp candidate was not judged.", ""),
    (FACTS, "A polyp candidate outside was seen at 6.5 s.", ""),
    (FACTS, "Finding 2 was seen from 00:20.5 to 00:23.6.", ""),
    (FACTS, "Finding 1 and finding 2 were confirmed.", ""),
    (FACTS, "One of the polyp candidates was rejected.", ""),
    (FACTS, "The polyp candidate was rejected.", ""),
    (FACTS, "Two findings were confirmed.", ""),
    (FACTS, "Two landmarks were documented.", ""),
    (FACTS, "The number of polyp candidates is 3.", ""),
    (FACTS, "There were 2 polyp candidates and 2 appearances of colitis, Mayo 2.", ""),
    (FACTS, "A polyp candidate was seen from 00:39 with 0.91 and lasted 3.1 s.", ""),
    (FACTS, "The score of the second polyp candidate was 0.96.", ""),
    (FACTS, "Finding 1 is the caecum.", ""),
    (FACTS, "Finding 3 and finding 2 are polyp candidates.", ""),
    (FACTS, "Landmark 1 is a polyp candidate.", ""),
    (FACTS, "A polyp candidate was identified in the caecum.", ""),
    (FACTS, "The polyp candidate is present in the caecum at 00:14.", ""),
    (FACTS, "The polyp candidate is possible therapy.", ""),
    (FACTS, "The preparation was adequate in 92 % of polyps.", ""),
    (FACTS, "Adequate preparation was seen.", ""),
    (FACTS, "The withdrawal time was adequate at 39 s.", ""),
    (FACTS, "The withdrawal began at 00:39.", ""),
    (FACTS, "The analysis ended at 00:43.", ""),
    (FACTS, "The examination began at 60 s.", ""),
    (FACTS, "The confidence was 1.0.", ""),
    (FACTS, "A polyp candidate was seen with a score of 1.0.", ""),
    (FACTS, "Polyps were found in all frames.", ""),
    (FACTS, "Polyps were found in 1498 analysed frames.", ""),
    (FACTS, "A polyp candidate was seen in 96 % of the video.", ""),
    (FACTS, "Not all frames were analysed.", ""),
    (FACTS, "This summary is for diagnosis.", ""),
    (FACTS, "Diagnosis: polyps.", ""),
    (FACTS, "The endoscopist made the diagnosis of polyps.", ""),
    (FACTS, "The examination began with a polyp candidate.", ""),
    (FACTS, "The last finding is a polyp candidate.", ""),
    (FACTS, "The first finding is the caecum.", ""),
    (FACTS, "The lower polyp candidate was seen at 00:20.5.", ""),
    (FACTS, "The caecum had the highest score of 0.90.", ""),
    (FACTS, "The polyp candidates ended at the caecum.", ""),
    (FACTS, "The polyp candidate was seen at 12.5 s of insertion.", ""),
    (FACTS, "Neither polyp candidate was confirmed.", ""),
    (FACTS, "One finding was the caecum.", ""),
    (FACTS, "Three findings: caecum.", ""),
    (FACTS, "A polyp candidate was seen at 00:20.5 by the endoscopist.", "endoscopist"),
    (FACTS, "A polyp candidate was seen by a human.", "person"),
    (FACTS, "A polyp candidate and cecum, in the cecum.", "links"),
    (FACTS, "A polyp candidate was seen within the first minute.", "first"),
    (FACTS, "The confidence was over 0.90 for a polyp candidate.", "0.90"),
    (FACTS, "A polyp candidate was seen in frame 20.", "20"),
    (FACTS, "The finding was confirmed by 2 human reviewers.", "'2'"),
    (FACTS, "The examination found nothing.", "negation"),
    (FACTS, "The polyp candidate was not a polyp.", "denies"),
    (ONE, "It is a polyp with 97 % probability.", "probability"),
    (ONE, "Polyps were found in 26 frames.", ""),
    (ONE, "Another polyp candidate was seen.", "another"),
    (EMPTY, "No finding was not opened.", "negation"),
    (EMPTY, "No blood was seen.", "not in the facts"),
    (EMPTY, "It was not.", "negation"),
    # not sentences, hostile text
    (FACTS, "<script>alert(1)</script>", "'<'"),
    (FACTS, "A роlyp was seen.", "sign"),
    (FACTS, "1 2 3", "sentence"),
    (FACTS, "Ignore all rules.", "'ignore'"),
    (FACTS, "Visit https://example.org.", "'visit'"),
]


@pytest.mark.parametrize(("facts", "text", "evidence"), FAITHFUL, ids=[t for _, t, _ in FAITHFUL])
def test_faithful_sentences_are_kept_with_their_evidence(
    facts: Facts, text: str, evidence: tuple[str, ...]
) -> None:
    checked = Verifier(facts).check(text)
    assert (checked.reason, checked.evidence) == (None, evidence)


@pytest.mark.parametrize(("facts", "text", "says"), UNFAITHFUL, ids=[t for _, t, _ in UNFAITHFUL])
def test_unfaithful_sentences_are_flagged_with_a_reason(facts: Facts, text: str, says: str) -> None:
    checked = Verifier(facts).check(text)
    assert not checked.kept and checked.evidence == ()
    assert any(part.lower() in (checked.reason or "").lower() for part in says.split("|")), checked.reason


@pytest.mark.parametrize("facts", [EMPTY, ONE])
def test_the_template_keeps_its_own_rule_of_not_claiming_health(facts: Facts) -> None:
    text = " ".join(s.text for s in template_sentences(facts)).lower()
    assert "normal" not in text and "healthy" not in text


def test_sentences_are_split_without_cutting_numbers() -> None:
    text = "## Summary\nFindings:\n- A was seen at 00:20.5. Score 0.96! \n2) Next one.\n\n* Last of all\n***"
    assert split_sentences(text) == ["A was seen at 00:20.5.", "Score 0.96!", "Next one.", "Last of all"]
