import pytest

from demo_project.bookshop import seed


@pytest.fixture
def shop(db: None) -> None:
    """The bookshop with its first rows."""
    seed.seed()
