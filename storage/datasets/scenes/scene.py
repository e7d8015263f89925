"""Random descriptions of scenes, with known answers to every question about them.

A scene has one to four objects (shape, colour, pattern, size, place) on a background (grass, water, night, ...) with
weather, shadows and a frame. Properties that no question asks about - shades, angles, noise - are random, or left to
`drawing.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

SIZE = 64  # pixels, both ways

COLOURS = {
    "red": (0.86, 0.13, 0.12),
    "yellow": (0.97, 0.85, 0.10),
    "green": (0.12, 0.62, 0.20),
    "blue": (0.14, 0.30, 0.90),
    "purple": (0.58, 0.18, 0.72),
    "white": (0.96, 0.96, 0.95),
    "black": (0.05, 0.05, 0.06),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart", "crescent")
TEXTURES = ("solid", "striped", "dotted", "checkered")
SIZES = {"small": (5.6, 7.2), "medium": (8.6, 10.6), "large": (12.8, 16.5)}  # radius in pixels
KINDS = ("plain", "gradient", "grass", "water", "sand", "night", "bricks")
TONES = {"dark": 0.16, "medium": 0.47, "bright": 0.83}  # mean of the background's channels
HUES = {"grey": (1.0, 1.0, 1.0), "blue": (0.62, 0.92, 1.46), "green": (0.72, 1.42, 0.86), "tan": (1.28, 1.02, 0.70)}
WEATHERS = ("dry", "rain", "snow")

# Angles that keep a shape what it is called: a square on its corner would be a diamond. Radians either way.
TURNS = {"square": 0.4, "cross": 0.4, "heart": 0.5}
STRAIGHT_EDGED = frozenset({"square", "triangle", "star", "cross"})
MIDDLE = 4.0  # minimum distance of centres to the image's middle lines, so that left and right are clear
KIND_HUE = {"grass": "green", "water": "blue", "sand": "tan", "bricks": "tan", "night": "grey"}
KIND_TONES = {"night": ("dark",), "sand": ("medium", "bright"), "bricks": ("dark", "medium")}
HIDDEN_BY_HUE = {"green": "green", "blue": "blue", "tan": "yellow"}
COUNT_SHARES = (0.34, 0.28, 0.20, 0.18)  # of scenes with one, two, three and four objects
OUTLINE = 1.5  # pixels around an object
OPEN_AIR = ("grass", "water", "sand")  # kinds that may end at a horizon


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneObject:
    """One object; `x`, `y` (right and down) and `radius` in pixels, `angle` in radians."""

    shape: str
    colour: str
    texture: str
    size: str
    radius: float
    x: float
    y: float
    angle: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All properties that questions ask about."""

    objects: tuple[SceneObject, ...]
    kind: str
    tone: str
    hue: str
    horizon: bool
    weather: str
    framed: bool
    shadows: bool
    outlined: bool


def sample_scene(
    rng: np.random.Generator,
    *,
    shape: str | None = None,
    colour: str | None = None,
    texture: str | None = None,
    kind: str | None = None,
    hue: str | None = None,
    counts: Sequence[int] = (1, 2, 3, 4),
) -> Scene:
    """Return a random scene; given values apply to all of its objects, its background and their number.

    Colours that would not stand out are never put on a background: with a given `colour`, the background adapts.
    `colour`, `kind` and `hue` must be compatible: nothing red stands out on bricks, and no grass is blue.
    """
    while True:
        setting = _sample_setting(rng, kind)
        colours = visible_colours(setting)
        if (colour is None or colour in colours) and hue in (None, setting.hue):
            break
    shares = np.array([COUNT_SHARES[count - 1] for count in counts])
    count = int(rng.choice(counts, p=shares / shares.sum()))
    # Objects of a scene often share properties; otherwise hardly any two would look alike.
    alike = {name: rng.random() < 0.35 for name in ("shape", "colour", "texture", "size")}
    common = (_pick(rng, SHAPES), _pick(rng, colours), _pick(rng, TEXTURES), _pick(rng, tuple(SIZES)))
    described = []
    for _ in range(count):
        described.append(
            (
                shape or (common[0] if alike["shape"] else _pick(rng, SHAPES)),
                colour or (common[1] if alike["colour"] else _pick(rng, colours)),
                texture or (common[2] if alike["texture"] else _pick(rng, TEXTURES)),
                common[3] if alike["size"] else _pick(rng, tuple(SIZES)),
            )
        )
    return replace(setting, objects=_place(rng, described))


def _sample_setting(rng: np.random.Generator, kind: str | None) -> Scene:
    """A scene that has no objects yet."""
    kind = kind or _pick(rng, KINDS)
    tone = _pick(rng, KIND_TONES.get(kind, tuple(TONES)))
    return Scene(
        objects=(),
        kind=kind,
        tone=tone,
        hue=KIND_HUE.get(kind) or _pick(rng, tuple(HUES)),
        horizon=kind in OPEN_AIR and bool(rng.random() < 0.6),
        # Snowflakes are white: they would be invisible on a bright background.
        weather=str(rng.choice(WEATHERS, p=(0.75, 0.25, 0.0) if tone == "bright" else (0.64, 0.18, 0.18))),
        framed=bool(rng.random() < 0.2),
        # No shadow is visible in the dark.
        shadows=tone != "dark" and bool(rng.random() < 0.5),
        outlined=bool(rng.random() < 0.3),
    )


def visible_colours(setting: Scene) -> tuple[str, ...]:
    """Return the colours that stand out on a scene's ground."""
    hidden = {"red"} if setting.kind == "bricks" else {HIDDEN_BY_HUE.get(setting.hue)}
    extremes = {"dark": "black", "bright": "white"}
    if setting.tone in extremes:
        # An outline contrasts with the background; around the other extreme it would be lost in the object.
        hidden |= {"black", "white"} if setting.outlined else {extremes[setting.tone]}
    return tuple(colour for colour in COLOURS if colour not in hidden)


def _place(rng: np.random.Generator, described: Sequence[tuple[str, str, str, str]]) -> tuple[SceneObject, ...]:
    """Place objects of the given (shape, colour, texture, size) without overlap; big ones shrink if necessary."""
    described = list(described)
    for attempt in range(1000):
        if attempt and attempt % 40 == 0:
            biggest = max(range(len(described)), key=lambda index: SIZES[described[index][3]])
            shape, colour, texture, size = described[biggest]
            described[biggest] = (shape, colour, texture, "medium" if size == "large" else "small")
        radii = [float(rng.uniform(*SIZES[size])) for *_, size in described]
        centres = [_centre(rng, radius) for radius in radii]
        clear = all(
            np.hypot(centres[i][0] - centres[j][0], centres[i][1] - centres[j][1]) > radii[i] + radii[j] + 0.5
            for i in range(len(radii))
            for j in range(i)
        )
        if clear:
            break
    else:
        raise AssertionError("four small objects always find a place")
    return tuple(
        SceneObject(
            shape=shape,
            colour=colour,
            texture=texture,
            size=size,
            radius=radius,
            x=x,
            y=y,
            angle=float(rng.uniform(-TURNS.get(shape, np.pi), TURNS.get(shape, np.pi))),
        )
        for (shape, colour, texture, size), radius, (x, y) in zip(described, radii, centres, strict=True)
    )


def _centre(rng: np.random.Generator, radius: float) -> tuple[float, float]:
    low, high = radius + 1.5, SIZE / 2 - MIDDLE
    x, y = rng.uniform(min(low, high - 2), high, size=2)
    flip_x, flip_y = rng.random(2) < 0.5
    return float(SIZE - x if flip_x else x), float(SIZE - y if flip_y else y)


def _pick(rng: np.random.Generator, names: Sequence[str]) -> str:
    return names[int(rng.integers(len(names)))]


def ground_truth(scene: Scene) -> dict[str, bool]:
    """Return the right answer to every question of `questions/scenes.yaml`, by key and in the file's order.

    None depends on left and right: a mirrored image has the same answers.
    """
    objects = scene.objects
    colours, shapes = {thing.colour for thing in objects}, {thing.shape for thing in objects}
    textures, sizes = {thing.texture for thing in objects}, {thing.size for thing in objects}
    return {
        **{f"has_{colour}": colour in colours for colour in COLOURS},
        "has_stripes": "striped" in textures,
        "has_dots": "dotted" in textures,
        "has_checks": "checkered" in textures,
        "has_solid": "solid" in textures,
        "has_outline": scene.outlined,
        "has_large": "large" in sizes,
        "has_small": "small" in sizes,
        "has_large_and_small": {"large", "small"} <= sizes,
        "has_different_colours": len(colours) > 1,
        "has_different_patterns": len(textures) > 1,
        "has_shadows": scene.shadows,
        "in_upper_half": any(thing.y < SIZE / 2 for thing in objects),
        "in_lower_half": any(thing.y > SIZE / 2 for thing in objects),
        **{f"has_{shape}": shape in shapes for shape in SHAPES},
        "has_straight_edges": bool(shapes & STRAIGHT_EDGED),
        "has_different_shapes": len(shapes) > 1,
        "is_single": len(objects) == 1,
        "is_pair": len(objects) == 2,
        "more_than_two": len(objects) > 2,
        "is_four": len(objects) == 4,
        "has_twins": len({(thing.shape, thing.colour) for thing in objects}) < len(objects),
        "on_grass": scene.kind == "grass",
        "on_water": scene.kind == "water",
        "on_sand": scene.kind == "sand",
        "at_night": scene.kind == "night",
        "on_bricks": scene.kind == "bricks",
        "is_plain": scene.kind == "plain",
        "is_gradient": scene.kind == "gradient",
        "is_dark": scene.tone == "dark",
        "is_bright": scene.tone == "bright",
        "is_bluish": scene.hue == "blue",
        "is_greenish": scene.hue == "green",
        "has_horizon": scene.horizon,
        "is_raining": scene.weather == "rain",
        "is_snowing": scene.weather == "snow",
        "has_frame": scene.framed,
    }
