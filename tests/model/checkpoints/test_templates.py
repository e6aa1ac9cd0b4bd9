import numpy as np
import pytest

from model.checkpoints.templates import TEMPLATE_NAMES, UnknownTemplateError, landmark_template

# x, y on a 112 x 112 face: left eye, right eye, nose, left and right corner of the mouth
ARCFACE = np.array(
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)


@pytest.mark.parametrize("name", TEMPLATE_NAMES)
def test_shape_and_type(name):
    landmarks = landmark_template(name, 512)
    assert landmarks.shape == (5, 2)
    assert landmarks.dtype == np.float64


@pytest.mark.parametrize("name", TEMPLATE_NAMES)
def test_order_is_eyes_nose_mouth_as_seen_in_the_picture(name):
    left_eye, right_eye, nose, left_mouth, right_mouth = landmark_template(name, 512)
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < nose[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.parametrize("name", TEMPLATE_NAMES)
@pytest.mark.parametrize("size", [64, 256, 1024])
def test_scales_with_the_size(name, size):
    np.testing.assert_allclose(
        landmark_template(name, size), landmark_template(name, 512) * size / 512, rtol=1e-12
    )


def test_gpen_is_arcface_with_a_quarter_of_padding():
    # 112 px template, a quarter of the face added all around (times 1.5), seen at 512 px
    padded = (ARCFACE - 56) / 1.5 + 56
    np.testing.assert_allclose(landmark_template("gpen", 512), padded * 512 / 112, atol=0.02)


def test_ffhq_is_tighter_than_gpen():
    def between_eyes(name: str) -> float:
        eyes = landmark_template(name, 512)[:2]
        return float(np.linalg.norm(eyes[1] - eyes[0]))

    assert between_eyes("ffhq") == pytest.approx(125.92, abs=0.01)
    assert between_eyes("ffhq") > 1.1 * between_eyes("gpen")


def test_caller_may_change_what_it_gets():
    landmark_template("gpen", 512)[:] = 0
    assert landmark_template("gpen", 512).min() > 200


def test_unknown_name_is_refused():
    with pytest.raises(UnknownTemplateError, match="only gpen, ffhq"):
        landmark_template("arcface", 512)
