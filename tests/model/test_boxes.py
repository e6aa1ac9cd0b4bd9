import numpy as np

from model.boxes import area, intersection, sides

BOX = np.array([1, 2, 5, 10], np.float32)


def test_sides_and_area():
    boxes = np.stack([BOX, BOX + 1, 2 * BOX])
    assert sides(boxes).tolist() == [[4, 8], [4, 8], [8, 16]]
    assert area(boxes).tolist() == [32, 32, 128]
    assert area(BOX) == 32


def test_intersection():
    others = [[0, 0, 20, 20], [3, 4, 4, 6], [3, 4, 9, 20], [5, 2, 9, 10], [9, 20, 12, 22]]
    assert intersection(BOX, np.array(others, np.float32)).tolist() == [32, 2, 12, 0, 0]
    assert intersection(BOX, BOX) == 32
