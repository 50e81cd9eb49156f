"""spacy-transformers' own tests, as installed with it, on our architectures.

Their source is copied when this runs. In the copy the names of architectures and hub
models are exchanged for ours and for tiny local encoders, and settings that
`spacy_nuner.Backbone.v1` does not have are taken out.
"""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import spacy_transformers.tests

from tests.tiny import make_tiny
from tests.util import make_tiny_bert

pytestmark = pytest.mark.slow


TEXTS = ["I like green eggs", "Eat blue ham", "underwater basket weaving https://a.com"]
# Exchanged in every file. The slow tokenizers, `get_spans` and what is asked of the
# encoder besides its hidden layers have no setting of ours.
EXCHANGES = [
    ("from .util import", "from spacy_transformers.tests.util import"),
    (
        "from .. import TransformerData",
        "from spacy_transformers import TransformerData",
    ),
    ("from ..pipeline_component", "from spacy_transformers.pipeline_component"),
    ("from ..layers", "from spacy_transformers.layers"),
    ("from ..data_classes", "from spacy_transformers.data_classes"),
    (
        "from .. import TransformerModel",
        "from spacy_nuner.models.backbone import BackboneModel as TransformerModel",
    ),
    ("spacy-transformers.TransformerModel.v3", "spacy_nuner.Backbone.v1"),
    ("spacy-transformers.TransformerListener.v1", "spacy_nuner.BackboneListener.v1"),
    ("spacy-transformers.Tok2VecTransformer.v1", "spacy_nuner.Tok2VecBackbone.v1"),
    ("spacy-transformers.Tok2VecTransformer.v3", "spacy_nuner.Tok2VecBackbone.v1"),
    ("hf-internal-testing/tiny-random-DistilBertModel", "{bert}"),
    ("hf-internal-testing/tiny-xlm-roberta", "{xlmr}"),
    ("distilbert-base-uncased", "{bert}"),
    ("albert-base-v2", "{bert}"),
    ('        "tokenizer_config": {"use_fast": False},\n', ""),
    ('    tokenizer_config = {"use_fast": true}\n', ""),
    ('    tokenizer_config = {"use_fast": false}\n', ""),
    ('    transformer_config = {"output_attentions": false}\n', ""),
    (
        "    [components.transformer.model.transformer_config]\n"
        "    output_attentions = true\n",
        "",
    ),
    (
        "    [components.tagger.model.tok2vec.get_spans]\n"
        '    @span_getters = "spacy-transformers.strided_spans.v1"\n'
        "    window = 256\n"
        "    stride = 256\n",
        "",
    ),
    (
        '    orig_config["components"]["transformer"]["model"]["tokenizer_config"] = '
        '{"use_fast": False}\n',
        "",
    ),
]
# Exchanged in one file, where a component has no architecture in its config, or its
# model is nested otherwise.
IN_FILE = {
    "test_pipeline_component": [
        (
            '    nlp.add_pipe("transformer")\n',
            '    nlp.add_pipe("transformer", config={"model": {'
            '"@architectures": "spacy_nuner.Backbone.v1", "name": "{bert}"}})\n',
        ),
        # Our output has the hidden layers that were asked for, and nothing else.
        ("    assert doc2._.trf_data.model_output.pooler_output is not None\n", ""),
        ("    assert doc2._.trf_data.model_output.attentions is not None\n", ""),
    ],
    "test_serialize": [
        (
            '                "transformer_config": {"output_attentions": True},\n',
            '                "@architectures": "spacy_nuner.Backbone.v1",\n',
        ),
    ],
    # As after `nlp.replace_listeners`, and in their own Tok2VecTransformer.v3.
    "test_tok2vectransformer": [
        ('get_ref("tok2vec").layers[0]', 'get_ref("tok2vec").layers[0].layers[0]')
    ],
}
DESELECTED = {
    "test_serialize": {
        "test_initialized_transformer_tobytes": "asks for a slow tokenizer",
        "test_initialized_transformer_todisk": "asks for a slow tokenizer",
        "test_transformer_pipeline_todisk_settings": (
            "asks for attentions in the output and for tokenizer_config"
        ),
    },
}
PASSED = {
    "test_pipeline_component": {
        "test_init",
        "test_predict",
        "test_set_annotations",
        "test_set_extra_annotations",
        "test_listeners",
        "test_transformer_pipeline_simple",
        "test_transformer_pipeline_long_token",
        "test_transformer_pipeline_tagger_senter_listener",
        "test_transformer_sentencepiece_IO",
        "test_transformer_pipeline_empty",
        "test_replace_listeners",
        "test_replace_listeners_invalid",
        "test_multiprocessing",
        "test_frozen_listener",
        "test_no_update_listener_in_predict",
        "test_source_replace_listeners",
    },
    "test_serialize": {
        "test_serialize_transformer_data",
        "test_transformer_tobytes",
        "test_transformer_pipeline_tobytes",
        "test_transformer_pipeline_todisk",
        "test_transformer_pipeline_todisk_before_initialize",
        "test_inline_transformer_tobytes",
        "test_initialized_inline_transformer_tobytes",
        "test_inline_transformer_todisk",
        "test_initialized_inline_transformer_todisk",
        "test_inline_transformer_pipeline_tobytes",
        "test_inline_transformer_pipeline_todisk",
        "test_initialized_inline_transformer_pipeline_todisk",
    },
    "test_tok2vectransformer": {"test_transformer_pipeline_tagger_internal"},
}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("encoders")
    return {
        "{bert}": make_tiny_bert(folder / "bert", TEXTS, positions=512).as_posix(),
        "{xlmr}": make_tiny("xlm-r", folder / "xlmr", TEXTS).as_posix(),
    }


@pytest.mark.weekly
@pytest.mark.parametrize("name", sorted(PASSED))
def test_their_tests_pass_on_ours(name, encoders, tmp_path):
    folder = Path(spacy_transformers.tests.__file__).parent
    source = (folder / f"{name}.py").read_text(encoding="utf8")
    for old, new in EXCHANGES:
        source = source.replace(old, new)
    for old, new in IN_FILE[name]:
        assert old in source
        source = source.replace(old, new)
    for old, new in encoders.items():
        source = source.replace(old, new)
    (tmp_path / f"{name}.py").write_text(source, encoding="utf8")
    deselected = DESELECTED.get(name, {})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", ".", "--junitxml", "results.xml"]
    command += [f"--deselect={name}.py::{test}" for test in deselected]
    done = subprocess.run(
        [*command, f"{name}.py"],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    cases = list(ElementTree.parse(tmp_path / "results.xml").iter("testcase"))
    # A case that failed or was skipped has a child that says so.
    passed = {
        case.get("name")
        for case in cases
        if not {child.tag for child in case} & {"failure", "error", "skipped"}
    }
    assert passed == PASSED[name], done.stdout
    assert len(cases) == len(passed)
    assert all(f"def {test}(" in source for test in deselected)
