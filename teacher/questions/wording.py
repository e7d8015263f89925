"""Checks of a question's wording. The rules are for English."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence


def words(text: str) -> list[str]:
    """Return lower-case words and numbers in order, in any script."""
    return re.findall(r"[^\W_]+", text.lower())


AUXILIARIES = frozenset(words("is are was were do does did has have can could will would"))
NEGATIONS = frozenset(words("no not non without never none neither nor lack lacks lacking cannot hardly"))
CONTRACTED_NOT = re.compile(r"n['\u2019]t\b")
EITHER_OR = frozenset({"or", "either", "versus", "vs"})
# Words too common to identify a question's subject.
STOP_WORDS = frozenset(
    words(
        "a an any are as at be by can do does each has have in is it its of on one part picture that the there to up "
        "visible which with s t"
    )
)
# Words that occur in class names (red fox, sea horse, cougar face) but are needed in questions.
COMMON_WORDS = frozenset(
    words(
        # colours, sizes and shapes
        "black blue bright brown dark gold golden gray green grey light orange pale pink purple red silver white "
        "yellow ball big deep great hard large little long round short small soft spotted star striped tall wide "
        # views, numbers and parts of things
        "back bill body bottom double easy end eye face feather foot front fur hair head leg line paper part side sign "
        "single skin stem tail tooth top wing "
        # where and of what things are
        "air beach city common field fire forest garden glass house ice land leaf metal moon mountain night picture "
        "plant plastic river road room rock sand sea sky snow stone street tree water wild winter wood "
        "young old and for from the with man woman child person people animal bird car flower fruit dog cat fish insect"
    )
)
NEARLY_THE_SAME = 0.7  # share of common words above which two questions are the same
SHORTEST_WORD = 3  # minimum letters of a word that names a class by itself


def is_yes_no_question(text: str) -> bool:
    """Return whether the text starts like a yes/no question ("Is", "Isn't"), and is one question."""
    first, second = [*words(text), "", ""][:2]
    begins = first in AUXILIARIES or (first.removesuffix("n") in AUXILIARIES and second == "t")
    return begins and text.rstrip().endswith("?") and text.count("?") == 1


def is_either_or(text: str) -> bool:
    """Return whether the text offers alternatives: "Is it red or blue?" has no yes."""
    return not EITHER_OR.isdisjoint(words(text))


def is_negated(text: str) -> bool:
    """Return whether the question is negated: "Is it not red?" has ambiguous answers."""
    return not NEGATIONS.isdisjoint(words(text)) or CONTRACTED_NOT.search(text.lower()) is not None


def nearly_the_same(first: str, second: str) -> bool:
    """Return whether two questions have the same words, or share most of their content words."""
    its, others = content_words(first), content_words(second)
    either = its | others
    return words(first) == words(second) or (bool(either) and len(its & others) / len(either) >= NEARLY_THE_SAME)


def content_words(text: str) -> frozenset[str]:
    """Return the words except common ones, each as its `stem`."""
    return frozenset(stem(word) for word in words(text) if word not in STOP_WORDS)


def stem(word: str) -> str:
    """Return a common form of a word and its regular plural: daisy and daisies, rose and roses, leaf and leaves."""
    if not word.endswith(("ss", "us", "is")):
        word = word.removesuffix("s")
    word = re.sub(r"(?<=[fhsvxz])e$", "", word)
    return re.sub(r"v$", "f", re.sub(r"(ie|y)$", "y", word))


class ClassNames:
    """The names of a dataset's classes, to be found in questions.

    A class is named by its whole name, in singular or plural, as one word or several ("sea horse" and "seahorse"), and
    by a word that no other class has, unless it is a common word: "fox" names the class "red fox", "red" does not;
    "warbler" names none if several classes are warblers; "cat" is not found in "bobcat".
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._stems = {name: _name_stems(name) for name in names}
        used = Counter(word for stems in self._stems.values() for word in set(stems))
        common = {stem(word) for word in COMMON_WORDS | STOP_WORDS}
        self._distinctive = {
            name: {word for word in stems if used[word] == 1 and _is_distinctive(word)} - common
            for name, stems in self._stems.items()
        }

    def named_in(self, text: str) -> str | None:
        """Return the first class named by `text`; None if it names none."""
        asked = [stem(word) for word in words(text)]
        line = f" {' '.join(asked)} "
        for name, stems in self._stems.items():
            whole = stems and (f" {' '.join(stems)} " in line or "".join(stems) in asked)
            if whole or not self._distinctive[name].isdisjoint(asked):
                return name
        return None


def readable(name: str) -> str:
    """Return a class name such as `StopSign`, `stop_sign` or `012.stop sign` as words, without its leading number."""
    unnumbered = re.sub(r"^\d+[\s._-]+(?=\D)", "", name)
    return " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unnumbered).replace("_", " ").split())


def _name_stems(name: str) -> list[str]:
    return [stem(word) for word in words(readable(name))]


def _is_distinctive(word: str) -> bool:
    return len(word) >= SHORTEST_WORD and not word.isdigit()
