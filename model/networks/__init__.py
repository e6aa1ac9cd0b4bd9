"""The GPEN networks.

Yang, Ren, Xie, Zhang: "GAN Prior Embedded Network for Blind Face Restoration in the Wild",
CVPR 2021.  The published checkpoints load with ``load_state_dict(strict=True)``.
"""

from model.networks.architecture import Architecture
from model.networks.discriminator import Discriminator
from model.networks.generator import FullGenerator

__all__ = ["Architecture", "Discriminator", "FullGenerator"]
