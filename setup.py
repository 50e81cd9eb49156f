import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# They lie beside the package, where a project has them, and ship inside it.
SHIPPED = ("configs", "assets", "project.yml")


class BuildWithProject(build_py):
    """Copies what `spacy nuner build` and `spacy nuner init` read into the package."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            # The checkout has them.
            return
        target = Path(self.build_lib, "spacy_nuner")
        for name in SHIPPED:
            if Path(name).is_dir():
                shutil.copytree(name, target / name, dirs_exist_ok=True)
            else:
                shutil.copy(name, target)


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildWithProject})
