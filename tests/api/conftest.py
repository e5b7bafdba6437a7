import pytest_asyncio

from tests.api.rig import rigged


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def rig(tmp_path_factory):
    """One hub for a module's tests: opening one costs more than most of them."""
    async with rigged(tmp_path_factory.mktemp("hub")) as made:
        yield made
