"""The words that prose about a session may use, and what each class may be called.

Owns word lists only. The world is closed: a word that is neither here nor a name of something in the facts
makes a sentence unverifiable. Words that claim something nobody measured (normal, complete, large, left,
adenoma, recommended, before, high) are left out on purpose; the most tempting ones are named below, so that
the reason given for a flagged sentence is a good one.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of `text`."""
    return frozenset(text.split())


ALLOWED = words(
    """
    a about absence absent accompany according across additional additionally adequate ai algorithm
    all alone also an analyse analysed analyses analysis analyze analyzed and another appear
    appearance approximately are around as assess assessment assign associate at automated automatic
    automatically available average based be been began begin begun being between blind blurred both
    but by call can candidate capsule capture captured case cause class classification classifier
    classify close come completed comprise computer confidence confirmed consider consist contain
    correspond could count cover covered dark data delivered describe detect detection determine
    diagnosis diagnostic did display do document documentation does dropped duration during each
    effective else end endoscopic endoscopy endostream episode estimate evaluate event
    every evidence exam examination exist extend fact failed feature file find finding finish first
    flag flush follow footage for found frame from further generate give given had has have held
    human identification identify image in inadequate include included indicate indication
    individual input insertion instance interpret interpretation interrupted interval into is it
    item its judge kept known label labeled labelled landmark last lasted length list long lower
    made mark material maximum may measure mention might min minute model moment more neither
    network never no none nor not note nothing number observation observe occasion occur occurrence
    of on once one only onset open or other output outside over overall overexposed peak pending
    percent percentage period picture point possible potential preparation present
    probability procedure process produce progress provide purpose ran range reach read record recorded
    recording refer reflect rejected related remain report represent research respective
    respectively result reveal review reviewed reviewer run saw score screen second seen separate
    separately sequence session show shown sighting sign signal skipped smoothed so software span
    spanned start state status still stopped stored stretch subject suggest suggested suggestive sum
    summarise summarize summary surest system taken tell that the their them therapy there these
    they this those through time timestamp to together total totalled track twice under unreliable
    unreviewed until up upper use used using value video view visible visual visualise visualize
    warning was were where whereas which while whose will with withdrawal within without written yet
    yield
    """
)
"""Words of a report; endings (-s, -ed, -ing, -ly) are taken off before a word is looked up."""

FORBIDDEN: dict[str, frozenset[str]] = {
    "names a side": words(
        """
        bilateral left left-sided leftward right right-sided rightward unilateral
        """
    ),
    "names a place that the facts do not hold": words(
        """
        abdomen anal angulus anorectal antrum anus appendiceal appendix ascending body bowel bulb
        caecal cardia cardiac cecal colon colonic colorectal corpus descending distal duodenal
        duodenum esophageal esophagus flexure fundus gastric gastrointestinal gut hepatic ileal
        ileocaecal ileocecal intestinal intestine jejunum junction larynx liver lumen mucosa mucosal
        oesophageal oesophagus orifice pharynx proximal pyloric rectal rectosigmoid rectum sigmoid
        splenic stomach throat tract transverse valve vocal wall
        """
    ),
    "uses a scale that the facts do not hold": words(
        """
        ascus baylor bbps boston forrest grade graded hill jnet kudo kyoto la lst mayo nice olga
        paris prague rockall rutgeerts sano savary siewert stage type uceis vienna yamada
        """
    ),
    "speaks of histology": words(
        """
        adenocarcinoma adenoma adenomas adenomatous atypia benign biopsies biopsy cancer cancerous
        carcinoma dysplasia dysplastic histologic histological histology histopathology hyperplasia
        hyperplastic invasive lymphoma malignancy malignant metaplasia metaplastic metastasis
        neoplasia neoplasm neoplastic pathology precancerous premalignant serrated tubular
        tubulovillous tumor tumour villous
        """
    ),
    "names something that is not in the facts": words(
        """
        angiectasia angiodysplasia bleed bleeding blood clot diverticula diverticulosis diverticulum
        edema erosion erythema exudate fistula fold foreign gastritis haemorrhage hemorrhage hernia
        inflamed inflammation instrument lesion lipoma mass melanosis nodule oedema parasite
        perforation scar stenosis stricture swelling ulcer ulcerated ulceration varices varix vessel
        worm
        """
    ),
    "states a size or shape": words(
        """
        big centimeter centimetre cm depressed diameter diminutive elevated enlarged flat giant huge
        large larger largest millimeter millimetre mm pedunculated round sessile size sized small
        smaller smallest tiny
        """
    ),
    "judges or advises": words(
        """
        abnormal advise advised certain certainly clear clearly complete completely concerning
        consult definite definitely diagnosed excellent exclude excluded excludes follow-up good
        healthy high highly immediately likely low moderate must need needed needs negative normal
        poor positive probable probably proven proves recommend recommendation recommended removed
        require required requires resect resected resection safe satisfactory severe should
        significant significantly success successful successfully sufficient surveillance suspicious
        treat treated treatment unlikely unremarkable urgent
        """
    ),
    "speaks of a person": words(
        """
        age aged born boy dr female girl he her him his male man mr mrs ms name named patient she
        woman
        """
    ),
    "claims an order in time": words(
        """
        after afterwards before earlier followed following immediately later meanwhile next preceded
        preceding previously prior simultaneously subsequent subsequently then
        """
    ),
    "is too vague to check": words(
        """
        couple dozen few frequent frequently half hundred hundreds majority many minority most
        mostly multiple numerous often pair quarter rare rarely repeatedly several some sometimes
        third-party thousand various
        """
    ),
}
"""Reason to words that make a sentence fail with that reason."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "polyps": ("polyp",),
    "cecum": ("caecum",),
    "ileum": ("terminal ileum",),
    "z-line": ("z line",),
    "hemorrhoids": ("haemorrhoids", "hemorrhoid", "haemorrhoid"),
    "retroflex-rectum": ("retroflexed rectum", "rectum in retroflexion", "rectal retroflexion"),
    "retroflex-stomach": ("retroflexed stomach", "stomach in retroflexion", "gastric retroflexion"),
    "barretts": ("barrett's oesophagus", "barrett's esophagus", "barrett's", "barrett"),
    "barretts-short-segment": ("short-segment barrett's oesophagus", "short-segment barrett's esophagus"),
    "esophagitis-a": (
        "oesophagitis",
        "esophagitis",
        "oesophagitis la grade a",
        "esophagitis la grade a",
        "la grade a",
    ),
    "esophagitis-b-d": ("oesophagitis", "esophagitis", "la grade b to d"),
    "dyed-lifted-polyps": ("dyed and lifted polyp", "dyed lifted polyp"),
    "dyed-resection-margins": ("dyed resection margin",),
    "impacted-stool": ("stool",),
    "ulcerative-colitis-grade-0-1": ("colitis", "ulcerative colitis", "mayo 0 to 1", "mayo 0-1"),
    "ulcerative-colitis-grade-1": ("colitis", "ulcerative colitis", "mayo 1"),
    "ulcerative-colitis-grade-1-2": ("colitis", "ulcerative colitis", "mayo 1 to 2", "mayo 1-2"),
    "ulcerative-colitis-grade-2": ("colitis", "ulcerative colitis", "mayo 2"),
    "ulcerative-colitis-grade-2-3": ("colitis", "ulcerative colitis", "mayo 2 to 3", "mayo 2-3"),
    "ulcerative-colitis-grade-3": ("colitis", "ulcerative colitis", "mayo 3"),
}
"""What else a class may be called."""

FINDING_WORDS = words("finding findings candidate candidates")
"""What any finding may be called."""

LANDMARK_WORDS = words("landmark landmarks")
"""What any landmark may be called."""

SEEN_WORDS = words("seen detected found recorded opened observed identified present noted shown documented")
"""What is said of something that is there."""

REASONS = frozenset({"outside", "dark", "overexposed", "blurred", "covered", "flush"})
"""Causes of blind time."""


_ENDINGS = (
    *(("'s", ""), ("s", ""), ("es", ""), ("ed", ""), ("d", ""), ("ly", "")),
    *(("ing", ""), ("ing", "e"), ("ies", "y"), ("ied", "y")),
)


def is_allowed(word: str) -> bool:
    """True when `word`, or what is left without its ending, is a word of a report."""
    if word in ALLOWED:
        return True
    stems = (word[: -len(end)] + instead for end, instead in _ENDINGS if word.endswith(end))
    return any(stem in ALLOWED for stem in stems)


def forbidden(word: str) -> str | None:
    """Why `word` may not be used, or None."""
    return next((reason for reason, listed in FORBIDDEN.items() if word in listed), None)
