import pytest
from asserting_scenes import Scene


@pytest.fixture
def scene():
    return Scene()
