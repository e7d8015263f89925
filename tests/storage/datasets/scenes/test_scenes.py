"""The renderer, its ground truth and the demo dataset made of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from storage.datasets.folder import image_folder
from storage.datasets.scenes.scenes import (
    CLANS,
    COLOURS,
    DEMO_CLASSES,
    FORM_COLOURS,
    FORM_KINDS,
    MIDDLE,
    SHAPES,
    SIZE,
    TEXTURES,
    Scene,
    SceneObject,
    ground_truth,
    render,
    sample_form,
    sample_scene,
    write_scenes,
)
from storage.images.decode import decode_image
from storage.questions import QuestionSet, load_questions

QUESTIONS = Path(__file__).parents[4] / "questions" / "scenes.yaml"


@pytest.fixture(scope="module")
def questions() -> QuestionSet:
    return load_questions(QUESTIONS)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    rng = np.random.default_rng(0)
    return [sample_scene(rng) for _ in range(1000)]


def _object(**changes: object) -> SceneObject:
    thing = SceneObject(
        shape="star", colour="red", texture="solid", size="large", radius=14.0, x=20.0, y=20.0, angle=0.0
    )
    return replace(thing, **changes)  # type: ignore[arg-type]


def _scene(*objects: SceneObject, **changes: object) -> Scene:
    scene = Scene(
        objects=objects or (_object(),),
        kind="plain",
        tone="medium",
        hue="grey",
        horizon=False,
        weather="dry",
        framed=False,
        shadows=False,
        outlined=False,
    )
    return replace(scene, **changes)  # type: ignore[arg-type]


def _rendered(scene: Scene, seed: int = 0) -> np.ndarray:
    return np.asarray(render(scene, np.random.default_rng(seed))).astype(float)


def test_the_question_set_has_fifty_questions_in_three_groups(questions: QuestionSet) -> None:
    assert len(questions) == 50
    assert {question.group for question in questions.questions} == {"visual", "categorical", "environmental"}


def test_every_question_has_a_right_answer(questions: QuestionSet, scenes: list[Scene]) -> None:
    assert all(tuple(ground_truth(scene)) == questions.keys for scene in scenes)


def test_every_answer_is_yes_and_no_often_enough(questions: QuestionSet, scenes: list[Scene]) -> None:
    shares = np.mean([list(ground_truth(scene).values()) for scene in scenes], axis=0)
    rare = {key: share for key, share in zip(questions.keys, shares, strict=True) if not 0.05 <= share <= 0.95}
    assert rare == {}


def test_ground_truth_of_a_known_scene() -> None:
    small = _object(shape="circle", colour="blue", texture="dotted", size="small", radius=6.0, x=50.0, y=50.0)
    scene = _scene(_object(), small, small, kind="grass", hue="green", weather="rain", framed=True)
    true = {key for key, value in ground_truth(scene).items() if value}
    assert true == {
        *("has_red", "has_blue", "has_solid", "has_dots", "has_large", "has_small", "has_large_and_small"),
        *("has_different_colours", "has_different_patterns", "has_different_shapes", "has_straight_edges"),
        *("has_star", "has_circle", "more_than_two", "has_twins", "in_upper_half", "in_lower_half"),
        *("on_grass", "is_greenish", "is_raining", "has_frame"),
    }


def test_the_same_seed_renders_the_same_pixels(scenes: list[Scene]) -> None:
    for scene in scenes[:20]:
        image = render(scene, np.random.default_rng(1))
        assert (image.size, image.mode) == ((SIZE, SIZE), "RGB")
        assert image.tobytes() == render(scene, np.random.default_rng(1)).tobytes()
        assert image.tobytes() != render(scene, np.random.default_rng(2)).tobytes()


def test_objects_lie_inside_clear_of_each_other_and_of_the_middle(scenes: list[Scene]) -> None:
    for scene in scenes:
        for i, one in enumerate(scene.objects):
            assert abs(one.x - SIZE / 2) >= MIDDLE - 1e-6
            assert abs(one.y - SIZE / 2) >= MIDDLE - 1e-6
            assert one.radius <= one.x <= SIZE - one.radius
            assert one.radius <= one.y <= SIZE - one.radius
            for other in scene.objects[:i]:
                assert np.hypot(one.x - other.x, one.y - other.y) > one.radius + other.radius


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("colour", COLOURS)
def test_an_object_is_painted_in_its_colour_where_it_lies(shape: str, colour: str) -> None:
    scene = _scene(_object(shape=shape, colour=colour))
    painted = _rendered(scene)
    close = np.abs(painted / 255 - COLOURS[colour]).max(axis=-1) < 0.15
    rows, columns = np.nonzero(close)
    assert 0.2 < close.sum() / (np.pi * 14**2) < 0.95
    assert np.hypot(columns + 0.5 - 20, rows + 0.5 - 20).max() < 14 * 1.25


def test_shapes_and_textures_look_different() -> None:
    shapes = [_rendered(_scene(_object(shape=shape))) for shape in SHAPES]
    textures = [_rendered(_scene(_object(texture=texture, shape="circle"))) for texture in TEXTURES]
    for looks in (shapes, textures):
        for i, one in enumerate(looks):
            assert all((np.abs(one - other).max(axis=-1) > 40).sum() > 30 for other in looks[:i])


@pytest.mark.parametrize(
    "changes",
    [
        *({"weather": "rain"}, {"weather": "snow"}, {"framed": True}, {"shadows": True}, {"outlined": True}),
        *({"kind": kind} for kind in ("gradient", "water", "sand", "bricks", "night", "grass")),
        *({"tone": "dark"}, {"tone": "bright"}, {"hue": "blue"}, {"hue": "green"}, {"horizon": True}),
    ],
    ids=str,
)
def test_everything_asked_about_can_be_seen(changes: dict[str, object]) -> None:
    plain, other = _rendered(_scene()), _rendered(_scene(**changes))
    assert (np.abs(plain - other).max(axis=-1) > 20).sum() > 50


def test_given_aspects_hold_for_all_objects() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scene = sample_scene(rng, shape="heart", colour="white", texture="dotted", kind="sand", counts=(2, 3))
        assert len(scene.objects) in (2, 3)
        assert scene.kind == "sand"
        assert {(thing.shape, thing.colour, thing.texture) for thing in scene.objects} == {("heart", "white", "dotted")}
        assert scene.tone != "bright", "white would not stand out"


def test_no_single_aspect_tells_a_clan() -> None:
    rng = np.random.default_rng(0)
    for clan in CLANS:
        scenes = [sample_form(rng, clan, "pair", form) for form in range(4)]
        assert [scene.objects[0].colour for scene in scenes] == list(FORM_COLOURS)
        assert sorted(scene.kind for scene in scenes) == sorted(FORM_KINDS)
        assert {len(scene.objects) for scene in scenes} == {2}
    forms = {(FORM_COLOURS[form], sample_form(rng, clan, "single", form).kind) for clan in CLANS for form in range(4)}
    assert len(forms) == 16, "a colour on a ground belongs to one clan"


def test_the_demo_dataset_is_an_image_folder_with_its_right_answers(questions: QuestionSet, tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", train_per_class=4, test_per_class=1, seed=3)
    dataset = image_folder(tmp_path / "scenes")
    truth = pl.read_parquet(tmp_path / "scenes" / "ground_truth.parquet")
    assert truth.columns == ["image_id", *questions.keys]
    assert sorted(truth["image_id"]) == sorted(record.image_id for record in dataset.records)
    assert len(dataset.class_names) == len(DEMO_CLASSES) == 12
    assert [record.split for record in dataset.records] == ["train"] * 48 + ["test"] * 12
    train = truth.filter(pl.col("image_id").str.starts_with("train/"))
    assert [train[key].sum() for key in ("has_red", "has_yellow", "has_blue", "has_purple", "on_grass")] == [12] * 5
    single = train.filter(pl.col("is_single"))["image_id"]
    assert len(single) == 16
    assert all("_single/" in image_id for image_id in single)
    write_scenes(tmp_path / "again", train_per_class=1, test_per_class=1, seed=3)
    again = image_folder(tmp_path / "again")
    for record in again.records:
        pixels = decode_image(again.read(record.image_id)).tobytes()
        assert pixels == decode_image(dataset.read(record.image_id)).tobytes()


def test_a_split_without_scenes_is_not_made(tmp_path: Path) -> None:
    write_scenes(tmp_path / "scenes", train_per_class=1, test_per_class=0, seed=0)
    assert {record.split for record in image_folder(tmp_path / "scenes").records} == {"train"}
