"""Several phrasings of each question about the scenes, so that the teacher does not just memorise one text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from storage.questions import QuestionSet

PROMPT = "{question}\nAnswer with Yes or No and nothing else."
OTHER_PROMPTS = (
    "{question}",
    "{question} Answer yes or no.",
    "{question}\nAnswer with Yes or No.",
    "Question: {question}\nReply with one word, Yes or No.",
)

# Things that can be present or absent: they fill the patterns below.
THINGS = {
    "has_red": ("a red object", "something red", "an object that is red"),
    "has_yellow": ("a yellow object", "something yellow", "an object that is yellow"),
    "has_green": ("a green object", "an object that is green", "an object coloured green"),
    "has_blue": ("a blue object", "an object that is blue", "an object coloured blue"),
    "has_purple": ("a purple object", "something purple", "a violet object"),
    "has_white": ("a white object", "an object that is white"),
    "has_black": ("a black object", "an object that is black"),
    "has_stripes": ("a striped object", "an object with stripes", "something with stripes"),
    "has_dots": ("a dotted object", "an object with dots", "an object with polka dots"),
    "has_checks": ("a checkered object", "an object with a chequerboard pattern", "an object with checks"),
    "has_solid": ("a plain object without a pattern", "an object of one solid colour", "an unpatterned object"),
    "has_large": ("a large object", "a big object", "an object of large size"),
    "has_small": ("a small object", "a tiny object", "a little object"),
    "has_large_and_small": ("both a large and a small object", "a large object together with a small object"),
    "has_circle": ("a circle", "a filled circle", "a disc", "a round disc"),
    "has_square": ("a square", "an object shaped like a square"),
    "has_triangle": ("a triangle", "an object with three corners", "a triangular object"),
    "has_star": ("a star", "a star shape", "an object shaped like a star"),
    "has_ring": ("a ring", "a round object with a hole", "an object shaped like a ring"),
    "has_cross": ("a cross", "a plus sign", "an object shaped like a cross"),
    "has_heart": ("a heart", "a heart shape", "an object shaped like a heart"),
    "has_crescent": ("a crescent", "a crescent moon", "an object shaped like a crescent"),
    "has_straight_edges": ("an object with straight edges", "an object that has straight sides"),
    "has_twins": ("two objects of the same shape and colour", "a pair of objects alike in shape and colour"),
    "on_grass": ("grass", "a meadow", "a lawn"),
    "on_water": ("water", "a sea with waves", "water with waves"),
    "on_sand": ("sand", "a sandy ground", "a beach of sand"),
    "at_night": ("a starry night", "a night sky full of stars", "a night with stars"),
    "on_bricks": ("a brick wall", "a wall of bricks", "a background of bricks"),
    "is_plain": ("a plain background of one colour", "a flat background"),
    "is_gradient": ("a gradient in the background", "a background that fades from dark to light"),
    "is_dark": ("a dark background",),
    "is_bright": ("a very bright background", "a bright background"),
    "is_bluish": ("a blue background", "a blue ground or background"),
    "is_greenish": ("a green background", "a green ground or background"),
    "has_horizon": ("a horizon with sky above", "sky above a horizon", "a horizon"),
    "is_raining": ("rain", "falling rain"),
    "is_snowing": ("falling snow", "snow in the air", "snow"),
    "has_frame": ("a frame around the picture", "a picture frame", "a border around the picture"),
    "has_shadows": ("an object that casts a shadow", "a shadow under the objects"),
    "has_outline": ("an outline around the objects", "a contour line around the objects"),
    "in_upper_half": ("an object centred in the upper half", "an object in the top half"),
    "in_lower_half": ("an object centred in the lower half", "an object in the bottom half"),
}
PRESENT = (
    "Is there {thing} in the picture?",
    "Is there {thing}?",
    "Do you see {thing}?",
    "Can {thing} be seen here?",
    "Does the image show {thing}?",
)
ABSENT = ("Is there no sign of {thing} in the picture?", "Is the picture without {thing}?")

SENTENCES = {
    "has_outline": ("Are the objects outlined?", "Is a contour drawn around each object?"),
    "has_different_colours": (
        "Are there objects of different colours?",
        "Do the objects have different colours?",
        "Is there more than one colour among the objects?",
    ),
    "has_different_patterns": (
        "Are there objects with different patterns?",
        "Do the objects have different patterns?",
        "Is there more than one kind of pattern among the objects?",
    ),
    "has_different_shapes": (
        "Do the objects have different shapes?",
        "Do the objects differ in shape?",
        "Is there more than one shape among the objects?",
    ),
    "has_shadows": ("Are there shadows?", "Does each object cast a shadow?"),
    "is_single": ("Is there only one object?", "Does the picture show a single object?", "Is one object all there is?"),
    "is_pair": ("Are there two objects?", "Does the picture show exactly two objects?"),
    "more_than_two": (
        "Are there three or more objects?",
        "Does the picture show more than two objects?",
        "Are there at least three objects?",
    ),
    "is_four": ("Are there exactly four objects?", "Does the picture show four objects?"),
    "at_night": ("Is it night with stars?", "Is it a starry night?"),
    "is_plain": ("Is the background plain?", "Is the background of one single colour?"),
    "is_gradient": ("Is the background a gradient?", "Does the background go smoothly from dark to light?"),
    "is_dark": ("Is it dark in the background?", "Does the picture have a dark background?"),
    "is_bright": ("Is the background bright?", "Is it very bright in the background?"),
    "is_bluish": ("Is the background blue?", "Is the ground blue?"),
    "is_greenish": ("Is the background green?", "Is the ground green?"),
    "has_horizon": ("Is the sky visible above the ground?", "Can you see the sky above a horizon?"),
    "is_raining": ("Does it rain?", "Are there raindrops?"),
    "is_snowing": ("Does it snow?", "Are there snowflakes?"),
    "has_frame": ("Is the picture framed?", "Does the picture have a frame?"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """One phrasing of the question `key`; `negated` if its right answer is the opposite."""

    key: str
    text: str
    weight: float
    negated: bool = False


def all_phrases(questions: QuestionSet) -> list[Phrase]:
    """Return every training prompt. The question's own text in the usual prompt has half of a question's weight."""
    found: list[Phrase] = []
    for question in questions.questions:
        found.append(Phrase(key=question.key, text=PROMPT.format(question=question.text), weight=0.5))
        same = list(dict.fromkeys([question.text, *_present(question.key), *SENTENCES.get(question.key, ())]))
        opposite = [pattern.format(thing=thing) for thing in THINGS.get(question.key, ()) for pattern in ABSENT]
        for texts, negated, share in ((same, False, 0.4 if opposite else 0.5), (opposite, True, 0.1)):
            for text in texts:
                found.append(_phrase(question.key, PROMPT, text, 0.7 * share / len(texts), negated))
                for prompt in OTHER_PROMPTS:
                    weight = 0.3 * share / len(texts) / len(OTHER_PROMPTS)
                    found.append(_phrase(question.key, prompt, text, weight, negated))
    return found


def _phrase(key: str, prompt: str, text: str, weight: float, negated: bool) -> Phrase:
    return Phrase(key=key, text=prompt.format(question=text), weight=weight, negated=negated)


def _present(key: str) -> Iterator[str]:
    for thing in THINGS.get(key, ()):
        for pattern in PRESENT:
            # Avoid repetitions such as "Is there a frame around the picture in the picture?".
            if not (re.search(r"picture|image|background|ground", thing) and "picture" in pattern):
                yield pattern.format(thing=thing)
