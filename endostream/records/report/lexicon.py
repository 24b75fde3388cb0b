"""The words that prose about a session may use, and what each class may be called.

Owns word lists only. The world is closed: a word that is neither here nor a name of something in the facts makes
a sentence unverifiable. Words that claim something nobody measured (normal, complete, large, left, adenoma,
recommended, before, high) are left out on purpose; the most tempting ones are named below, so that the reason given
for a flagged sentence is a good one.
"""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of `text`."""
    return frozenset(text.split())


ALLOWED = words(
    """
    a an and are as at also available be been being both but by can could did do does each every for from
    had has have in into is it its may might of on once or that the their them there these they this those
    through to total together twice up was were where which while whose will with within whereas about
    accompany according across additional additionally ai algorithm all alone analyse analyses analysis
    analyze another appear appearance approximately around assess assessment assign associate automated
    automatic automatically average based began begin begun between call candidate capture case
    cause class classifier classify classification close come comprise computer confidence confirmed
    consider consist contain correspond count cover data describe detect detection determine
    diagnosis diagnostic display document documentation duration during end endoscopic endoscopy
    endostream episode estimate evaluate event exam examination exist extend fact feature file find
    finding finish first flag follow footage found frame further generate give given had held highest
    identify identification image include included indicate indication individual input instance interpret
    interpretation interval it item judge kept known label landmark last lasted length list 
     long made mark material maximum measure mention min minute model moment more network note
    number observe observation occasion occur occurrence one only onset open other output overall part peak
    per percent percentage period picture point portion position possible potential present
     probability procedure process produce progress provide purpose range read record
    recorded recording reach refer reflect related remain report represent research
    respective respectively result reveal review reviewed run saw score screen second section seen segment
    separate separately sequence session show shown sighting signal single smoothed so software span
    spanned start state status still stored stretch subject suggest suggested suggestive sum summary
    summarise summarize sure surest system taken tell that therapy time timestamp total track under
    until use used using value video view visible visual visualise visualize warning where written
    within yield yet human reader endoscopist adequate inadequate preparation unreliable
    completed stopped interrupted failed rejected pending unreviewed confirmed dropped skipped delivered
    captured analysed analyzed lower upper capsule blind outside dark overexposed blurred covered flush
    insertion withdrawal effective no not without none never neither nor nothing absent absence else
    """
)
"""Words of a report; endings (-s, -ed, -ing, -ly) are taken off before a word is looked up."""

FORBIDDEN: dict[str, frozenset[str]] = {
    "names a side": words(
        """
        left right bilateral unilateral leftward rightward left-sided right-sided
        """
    ),
    "names a place that the facts do not hold": words(
        """
        abdomen anal angulus anorectal antrum anus appendix appendiceal ascending body bowel bulb cardia
        cardiac cecal caecal colon colonic colorectal corpus descending distal duodenal duodenum esophageal
        esophagus oesophageal oesophagus flexure fundus gastric gastrointestinal gut hepatic ileal ileocecal
        ileocaecal intestinal intestine jejunum larynx liver lumen mucosa mucosal orifice pharynx proximal
        pyloric rectal rectosigmoid rectum sigmoid splenic stomach throat transverse tract valve vocal wall
        junction
        """
    ),
    "uses a scale that the facts do not hold": words(
        """
        ascus bbps boston forrest grade graded hill jnet kudo la lst mayo nice paris prague rutgeerts sano
        savary siewert type stage uceis vienna yamada kyoto olga baylor rockall
        """
    ),
    "speaks of histology": words(
        """
        adenocarcinoma adenoma adenomas adenomatous atypia benign biopsy biopsies cancer cancerous carcinoma
        dysplasia dysplastic histologic histological histology histopathology hyperplasia hyperplastic
        invasive lymphoma malignancy malignant metaplasia metaplastic metastasis neoplasia neoplasm
        neoplastic pathology precancerous premalignant serrated tubular tubulovillous tumor tumour villous
        """
    ),
    "names something that is not in the facts": words(
        """
        angiectasia angiodysplasia bleed bleeding blood clot diverticula diverticulosis diverticulum edema
        oedema erosion erythema exudate fistula fold foreign gastritis hemorrhage haemorrhage hernia
        inflammation inflamed instrument lesion lipoma mass melanosis nodule parasite perforation scar
        stenosis stricture swelling ulcer ulcerated ulceration varices varix vessel worm
        """
    ),
    "states a size or shape": words(
        """
        big centimetre centimeter cm diameter diminutive enlarged flat giant huge large larger largest
        millimetre millimeter mm pedunculated sessile size sized small smaller smallest tiny depressed
        elevated round
        """
    ),
    "judges or advises": words(
        """
        abnormal advise advised certain certainly clear clearly complete completely concerning consult
        definite definitely diagnosed excellent exclude excluded excludes follow-up good healthy high highly
        immediately low moderate must need needed needs normal poor positive negative probable probably
        likely unlikely proven proves recommend recommendation recommended require required requires resect
        resected resection safe removed satisfactory severe should significant significantly success
        successful successfully sufficient surveillance suspicious treat treated treatment unremarkable
        urgent
        """
    ),
    "speaks of a person": words(
        """
        patient he she him her his man woman male female boy girl aged age born name named mr mrs ms dr
        """
    ),
    "claims an order in time": words(
        """
        after afterwards before later earlier followed following preceded preceding previously prior
        subsequently subsequent then next simultaneously meanwhile immediately
        """
    ),
    "is too vague to check": words(
        """
        few many several most mostly numerous majority minority half third-party quarter dozen hundred hundreds
        thousand frequent frequently often rarely rare sometimes some various multiple couple pair
        repeatedly
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
    "bbps-0-1": ("inadequate preparation",),
    "bbps-2-3": ("adequate preparation",),
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

REASONS = frozenset({"outside", "dark", "overexposed", "blurred", "covered", "flush"})
"""Causes of blind time."""


def is_allowed(word: str) -> bool:
    """True when `word`, or what is left without its ending, is a word of a report."""
    if word in ALLOWED:
        return True
    stems = [word[: -len(end)] for end in ("'s", "s", "es", "ed", "d", "ing", "ly") if word.endswith(end)]
    stems += [f"{word[:-3]}e" for _ in (0,) if word.endswith("ing")]
    stems += [f"{word[:-3]}y" for _ in (0,) if word.endswith("ies")]
    return any(stem in ALLOWED for stem in stems)


def forbidden(word: str) -> str | None:
    """Why `word` may not be used, or None."""
    return next((reason for reason, words in FORBIDDEN.items() if word in words), None)
