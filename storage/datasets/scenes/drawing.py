"""Draws a scene as a small RGB image."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from storage.datasets.scenes.scene import COLOURS, HUES, OUTLINE, SHAPES, SIZE, TONES, Scene, SceneObject


@lru_cache(maxsize=1)
def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres: x to the right and y down, each [SIZE, SIZE]."""
    axis = np.arange(SIZE, dtype=np.float32) + 0.5
    x, y = np.meshgrid(axis, axis)
    return x, y


def render(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Return the scene as 64x64 RGB; `rng` decides shades, noise and snowfall, which no question asks about."""
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
    # Brighter colours are less saturated: a saturated hue at 0.83 would exceed the range of a channel.
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
    """Return coordinates in the object's own frame, radius 1, y up."""
    cos, sin = np.cos(thing.angle) / thing.radius, np.sin(thing.angle) / thing.radius
    x, y = x - thing.x, thing.y - y
    return (x * cos + y * sin).astype(np.float32), (y * cos - x * sin).astype(np.float32)


def _distance(thing: SceneObject, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the signed distance to the object's edge in pixels, negative inside."""
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
    """Return the share of the second shade in every pixel, [SIZE, SIZE]."""
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
