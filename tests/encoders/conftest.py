from ..pretrain.conftest import *  # noqa: F403
