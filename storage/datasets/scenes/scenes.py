"""Little pictures drawn from a description, so that every question about them has a known answer.

A scene is one to four objects (shape, colour, pattern, size, place) on a background (grass, water, night, ...) with
weather, shadows and a frame. Everything that no question asks about - shades, angles, noise - is left to chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from storage.datasets.scenes.folder import GROUND_TRUTH, filling

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
MIDDLE = 4.0  # no centre lies nearer than this to the picture's middle lines, so left and right are clear
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
    """Everything that the questions ask about."""

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
    counts: Sequence[int] = (1, 2, 3, 4),
) -> Scene:
    """A random scene; what is given holds for all of its objects, for its background, and for their number.

    Colours that would not stand out are never put on a background: with `colour` given, the background gives way.
    `colour` and `kind` must go together: nothing red stands out on bricks.
    """
    while True:
        setting = _sample_setting(rng, kind)
        colours = visible_colours(setting)
        if colour is None or colour in colours:
            break
    shares = np.array([COUNT_SHARES[count - 1] for count in counts])
    count = int(rng.choice(counts, p=shares / shares.sum()))
    # Objects of a picture often have something in common; without this hardly any two would look alike.
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
    """The colours that stand out on a scene's ground."""
    hidden = {"red"} if setting.kind == "bricks" else {HIDDEN_BY_HUE.get(setting.hue)}
    extremes = {"dark": "black", "bright": "white"}
    if setting.tone in extremes:
        # An outline contrasts with the background; around the other extreme it would be lost in the object.
        hidden |= {"black", "white"} if setting.outlined else {extremes[setting.tone]}
    return tuple(colour for colour in COLOURS if colour not in hidden)


def _place(rng: np.random.Generator, described: Sequence[tuple[str, str, str, str]]) -> tuple[SceneObject, ...]:
    """Objects of the given (shape, colour, texture, size), none covering another; big ones shrink if they must."""
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


# The classes of the demo dataset are clans in company. A clan shows itself in four forms, each a colour on a ground:
# amber is red on grass, yellow in front of a gradient, blue on a plain ground, purple at night. Every colour and every
# ground occurs in every clan, so neither tells it alone: a student must see both, and how many objects there are.
CLANS = ("amber", "birch", "cedar", "damson")
FORM_COLOURS = ("red", "yellow", "blue", "purple")
FORM_KINDS = ("grass", "night", "plain", "gradient")
COMPANIES = {"single": (1,), "pair": (2,), "group": (3, 4)}
DEMO_CLASSES = tuple((clan, company) for clan in CLANS for company in COMPANIES)


def sample_form(rng: np.random.Generator, clan: str, company: str, form: int) -> Scene:
    """A scene of one class of the demo dataset in its form number 0..3; shapes, patterns, sizes, weather are random."""
    kind = FORM_KINDS[(CLANS.index(clan) - form) % len(FORM_KINDS)]
    return sample_scene(rng, colour=FORM_COLOURS[form], kind=kind, counts=COMPANIES[company])


def write_scenes(root: Path, *, train_per_class: int, test_per_class: int, seed: int) -> None:
    """An image folder of rendered scenes: `root/split/class/number.png`, classes such as `amber_pair`.

    The right answers are in `root/ground_truth.parquet` (image_id and a bool column per question), which is written
    last: where it exists, everything does. Scenes of an earlier command are removed first, as it may have been killed.
    The same arguments give the same pixels.
    """
    with filling(root):
        answers = []
        for split_number, (split, count) in enumerate((("train", train_per_class), ("test", test_per_class))):
            for class_number, (clan, company) in enumerate(DEMO_CLASSES):
                folder = root / split / f"{clan}_{company}"
                if count:  # a split without images is no split
                    folder.mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    rng = np.random.default_rng((seed, split_number, class_number, number))
                    scene = sample_form(rng, clan, company, number % len(FORM_COLOURS))
                    path = folder / f"{number:04}.png"
                    render(scene, rng).save(path)
                    answers.append({"image_id": path.relative_to(root).as_posix(), **ground_truth(scene)})
        unfinished = root / f".{GROUND_TRUTH}"
        pl.DataFrame(answers).write_parquet(unfinished)
        unfinished.replace(root / GROUND_TRUTH)


def ground_truth(scene: Scene) -> dict[str, bool]:
    """The right answer to every question of `questions/scenes.yaml`, by key and in the file's order.

    None of them depends on left and right: a mirrored picture has the same answers.
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


# ---------------------------------------------------------------------------------------------------- drawing


@lru_cache(maxsize=1)
def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres: x to the right and y down, each [SIZE, SIZE]."""
    axis = np.arange(SIZE, dtype=np.float32) + 0.5
    x, y = np.meshgrid(axis, axis)
    return x, y


def render(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """The scene as 64x64 RGB; `rng` decides shades, noise, the fall of snow: what no question asks about."""
    canvas = _background(scene, rng)
    x, y = _grid()
    for thing in scene.objects:
        if scene.shadows:
            shade = _coverage(_distance(thing, x - 2.2, y - 2.8), softness=2.5)
            canvas *= 1 - 0.5 * shade[..., None]
    for thing in scene.objects:
        _draw(canvas, thing, rng, tone=scene.tone, outlined=scene.outlined)
    if scene.weather != "dry":
        _weather(canvas, scene, rng)
    if scene.framed:
        _frame(canvas, scene.tone, rng)
    canvas *= rng.uniform(0.94, 1.06)
    canvas += rng.normal(0, rng.uniform(0.002, 0.016), canvas.shape).astype(np.float32)
    return Image.fromarray((canvas.clip(0, 1) * 255 + 0.5).astype(np.uint8))


def _background(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    x, y = _grid()
    base = np.array(HUES[scene.hue], dtype=np.float32)
    if scene.kind == "bricks":
        base = np.array((1.55, 0.85, 0.62), dtype=np.float32)
    level = TONES[scene.tone]
    # The brighter, the paler: a saturated hue at 0.83 would leave the range of a channel.
    base = 1 + (base - 1) * (0.45 if scene.tone == "bright" else 1.0) + rng.uniform(-0.05, 0.05, 3).astype(np.float32)
    canvas = np.broadcast_to(base * level * rng.uniform(0.93, 1.07), (SIZE, SIZE, 3)).astype(np.float32)
    light = np.ones((SIZE, SIZE), dtype=np.float32)
    if scene.kind == "gradient":
        turn = rng.uniform(0, 2 * np.pi)
        light += 0.45 * ((x - 32) * np.cos(turn) + (y - 32) * np.sin(turn)) / 32
    elif scene.kind == "grass":
        light += 0.22 * (_blades(rng) - 0.3)
    elif scene.kind == "water":
        slant, start, bend = rng.uniform(-0.06, 0.06), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
        wave = y + slant * x + 1.3 * np.sin(x * rng.uniform(0.25, 0.4) + bend)
        light += 0.2 * np.sin(wave * 2 * np.pi / rng.uniform(6.5, 8.5) + start)
    elif scene.kind == "sand":
        light += 0.13 * rng.normal(0, 1, (SIZE, SIZE)).astype(np.float32)
    elif scene.kind == "bricks":
        light = _bricks(rng)
    elif scene.kind == "night":
        canvas = np.broadcast_to(0.07 * base, (SIZE, SIZE, 3)).astype(np.float32)
    canvas = canvas * light[..., None]
    if scene.kind == "night":
        _stars(canvas, rng)
    if scene.horizon:
        _sky(canvas, scene.tone, rng)
    return canvas


def _blades(rng: np.random.Generator) -> np.ndarray:
    """Short upright strokes, some light, some dark."""
    noise = rng.normal(0, 1, (SIZE + 4, SIZE)).astype(np.float32)
    return (noise[:-4] + noise[1:-3] + noise[2:-2] + noise[3:-1] + noise[4:]) / 5**0.5


def _bricks(rng: np.random.Generator) -> np.ndarray:
    x, y = _grid()
    height, width = 8.0, 15.0
    y = y + rng.uniform(0, height)
    row = np.floor(y / height)
    x = x + rng.uniform(0, width) + (row % 2) * width / 2
    column = np.floor(x / width)
    shades = rng.uniform(0.85, 1.1, (12, 12))
    light = shades[row.astype(int) % 12, column.astype(int) % 12]
    mortar = ((y % height) < 1.2) | ((x % width) < 1.2)
    return np.where(mortar, 1.45, light).astype(np.float32)


def _stars(canvas: np.ndarray, rng: np.random.Generator) -> None:
    count = int(rng.integers(25, 45))
    rows, columns = rng.integers(0, SIZE, (2, count))
    canvas[rows, columns] = rng.uniform(0.35, 0.95, (count, 1))


def _sky(canvas: np.ndarray, tone: str, rng: np.random.Generator) -> None:
    _, y = _grid()
    line = rng.uniform(16, 26)
    colours = {"dark": (0.10, 0.08, 0.22), "medium": (0.42, 0.60, 0.86), "bright": (0.80, 0.88, 0.97)}
    top = np.array(colours[tone], dtype=np.float32) * rng.uniform(0.93, 1.05)
    # Paler towards the horizon.
    glow = top + (0.25 if tone != "bright" else 0.08) * (y / line).clip(0, 1)[..., None] * (1.05 - top)
    above = (line - y + 0.5).clip(0, 1)[..., None]
    canvas += (glow - canvas) * above


def _draw(canvas: np.ndarray, thing: SceneObject, rng: np.random.Generator, *, tone: str, outlined: bool) -> None:
    x, y = _grid()
    distance = _distance(thing, x, y)
    main = (
        (np.array(COLOURS[thing.colour], dtype=np.float32) + rng.uniform(-0.05, 0.05, 3)).astype(np.float32).clip(0, 1)
    )
    if outlined:
        light_line = tone == "dark" or thing.colour == "black"
        line = np.array((0.97, 0.97, 0.97) if light_line else (0.06, 0.06, 0.07), dtype=np.float32)
        canvas += (line - canvas) * _coverage(distance - OUTLINE)[..., None]
    paint = main
    if thing.texture != "solid":
        # White and yellow get a darker second shade, all others a lighter one.
        second = main * 0.4 if thing.colour in ("white", "yellow") else main + 0.68 * (1 - main)
        paint = main + (second - main) * _pattern(thing, rng)[..., None]
    canvas += (paint - canvas) * _coverage(distance)[..., None]


def _coverage(distance: np.ndarray, softness: float = 1.0) -> np.ndarray:
    """How much of a pixel lies inside, given its signed distance in pixels (negative inside): anti-aliasing."""
    return (0.5 - distance / softness).clip(0, 1)


def _local(thing: SceneObject, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in the object's own frame, radius 1, y up."""
    cos, sin = np.cos(thing.angle) / thing.radius, np.sin(thing.angle) / thing.radius
    x, y = x - thing.x, thing.y - y
    return (x * cos + y * sin).astype(np.float32), (y * cos - x * sin).astype(np.float32)


def _distance(thing: SceneObject, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to the object's edge in pixels, negative inside."""
    u, v = _local(thing, x, y)
    return thing.radius * _unit_distance(thing.shape, u, v)


def object_distance(thing: SceneObject) -> np.ndarray:
    """Signed distance of every pixel's centre to the object's edge, negative inside, [SIZE, SIZE]."""
    return _distance(thing, *_grid())


def _unit_distance(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Signed distances (lower bounds outside, exact enough for anti-aliasing) to shapes of radius 1."""
    r = np.hypot(u, v)
    if shape == "circle":
        return r - 0.9
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) - 0.78
    if shape == "triangle":
        v = v + 0.12
        return np.maximum(-v, 0.866 * np.abs(u) + 0.5 * v) - 0.56
    if shape == "star":
        fold = np.pi / 5
        angle = np.abs((np.arctan2(u, v) % (2 * fold)) - 2 * fold * ((np.arctan2(u, v) % (2 * fold)) > fold))
        p, q = r * np.cos(angle), r * np.sin(angle)
        tip, notch = (1.08, 0.0), (0.46 * np.cos(fold), 0.46 * np.sin(fold))
        edge = np.hypot(notch[0] - tip[0], notch[1] - tip[1])
        return ((p - tip[0]) * notch[1] - (q - tip[1]) * (notch[0] - tip[0])) / edge
    if shape == "ring":
        return np.abs(r - 0.66) - 0.26
    if shape == "cross":
        tall = np.maximum(np.abs(u) - 0.3, np.abs(v) - 0.92)
        wide = np.maximum(np.abs(u) - 0.92, np.abs(v) - 0.3)
        return np.minimum(tall, wide)
    if shape == "heart":
        side = 0.56
        u, v = np.abs(u), v - 0.08
        half = side / 2**0.5
        body = (u + np.abs(v)) / 2**0.5 - side
        return np.minimum(body, np.hypot(u - half, v - half) - side)
    if shape == "crescent":
        return np.maximum(r - 0.95, 0.78 - np.hypot(u - 0.46, v))
    raise ValueError(f"no shape {shape!r}; known are {', '.join(SHAPES)}")


def _pattern(thing: SceneObject, rng: np.random.Generator) -> np.ndarray:
    """Share of the second shade in every pixel, [SIZE, SIZE]."""
    u, v = _local(thing, *_grid())
    turn = rng.uniform(0, np.pi)
    u, v = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    u, v = u * thing.radius, v * thing.radius
    pitch = rng.uniform(0.92, 1.08) * (3.6 + 0.12 * thing.radius)
    start = rng.uniform(0, 2 * np.pi, 2)
    a, b = 2 * np.pi * u / pitch + start[0], 2 * np.pi * v / pitch + start[1]
    if thing.texture == "striped":
        return (0.5 + 1.3 * np.sin(a)).clip(0, 1)
    if thing.texture == "checkered":
        return (0.5 + 1.8 * np.sin(a * 0.72) * np.sin(b * 0.72)).clip(0, 1)
    # Round dots: the distance to the nearest point of a grid.
    near_u = (u / pitch + start[0]) % 1 - 0.5
    near_v = (v / pitch + start[1]) % 1 - 0.5
    return (0.5 - (np.hypot(near_u, near_v) - 0.28) * pitch).clip(0, 1)


def _weather(canvas: np.ndarray, scene: Scene, rng: np.random.Generator) -> None:
    x, y = _grid()
    if scene.weather == "snow":
        count = int(rng.integers(26, 40))
        places, radii = rng.uniform(0, SIZE, (count, 2)), rng.uniform(0.8, 1.5, count)
        for (px, py), radius in zip(places, radii, strict=True):
            flake = _coverage(np.hypot(x - px, y - py) - radius)[..., None]
            canvas += (1.0 - canvas) * 0.92 * flake
        return
    slant = rng.uniform(0.2, 0.5) * (1 if rng.random() < 0.5 else -1)
    colour = np.float32(0.35 if scene.tone == "bright" else 0.85)
    for px, py in rng.uniform((-10, -8), (SIZE + 10, SIZE), (int(rng.integers(24, 36)), 2)):
        across = np.abs(x - px - slant * (py - y)) - 0.35
        along = np.abs(y - py - 4) - rng.uniform(3, 5)
        canvas += (colour - canvas) * (0.6 * _coverage(np.maximum(across, along)))[..., None]


def _frame(canvas: np.ndarray, tone: str, rng: np.random.Generator) -> None:
    x, y = _grid()
    width = rng.uniform(2.2, 3.6)
    colour = np.array((0.78, 0.62, 0.22) if tone == "dark" else (0.36, 0.18, 0.06), dtype=np.float32)
    inset = np.minimum(np.minimum(x, SIZE - x), np.minimum(y, SIZE - y))
    canvas += (colour * rng.uniform(0.9, 1.1) - canvas) * _coverage(inset - width)[..., None]
