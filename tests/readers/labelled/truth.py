"""30 sentences with 96 spans, and how each labelling tool would write them."""

import json
from dataclasses import dataclass
from functools import cached_property

import spacy
from spacy.tokens import Doc, DocBin
from spacy.training import offsets_to_biluo_tags

LABELS = ("PER", "LOC", "ORG", "DATE", "work of art")
# Labels in brackets behind the words; the whole has entities at both ends, neighbours
# of one label, several words, punctuation, scripts, and characters beyond 16 bits.
MARKED = """\
<Ana Lima|PER> left <Porto|LOC>.
<Łukasz Wójcik|PER> met <Chloë|PER> in <Łódź|LOC> on <3 May 2021|DATE>
Nothing happened here, as usual.
"<Dune|work of art>", said <Bo|PER>, "is by <Frank Herbert|PER>."
<東京|LOC> <大阪|LOC> <京都|LOC> <名古屋|LOC>
🦊 <Fox|ORG> hired <Mira|PER> 🎉 in <Oslo|LOC>!
The <Alma Mater Studiorum|ORG> (<Coimbra|LOC>, <Portugal|LOC>) opened in <1290|DATE>.
<Ines|PER> <Rui|PER> <Tomás|PER> <Duarte|PER> <Leonor|PER>
<São Paulo|LOC>, <Brazil|LOC>: <Petrobras|ORG> and <Vale|ORG> reported on <Monday|DATE>.
Is it raining?
In <Paris|LOC>, <Zoé|PER> saw <Guernica|work of art>; <Otto|PER> did not.
𝔄𝔫𝔫𝔞 wrote to <Юрий Гагарин|PER> from <Москва|LOC> in <1961|DATE> 🚀
<Siemens|ORG>
from <Bonn|LOC> to <Köln|LOC> and <Aachen|LOC> by <10 July|DATE>
<Kofi Annan|PER> led the <United Nations|ORG> until <2006|DATE>.
<Ada|PER>, <Grace|PER>, <Edsger|PER> and <Barbara Liskov|PER> came.
He paid 900 pounds and left.
<Αθήνα|LOC> hosted <Nokia|ORG> 😀 <Nikos|PER> 😀 <Eleni|PER>
The film <Alien|work of art> by <Ridley Scott|PER> ran in <June|DATE> at <Kino|ORG>.
(<Reykjavík|LOC>), (<Hella|LOC>)
<Amal|PER>'s trip to <Cairo|LOC> via <Giza|LOC> took a day in <May|DATE>.
<Volvo|ORG> <Saab|ORG> and <Ericsson|ORG> of <Sweden|LOC>
On <1 April|DATE> <Greta|PER> spoke in <Davos|LOC>; <Klaus|PER> listened.
<Ngũgĩ wa Thiong’o|PER> was born in <Kenya|LOC> in <1938|DATE>
no news today 🙃
<IBM|ORG>, <Intel|ORG>, <AMD|ORG>: <Lisa Su|PER> knows <Andy Grove|PER>
We read <Faust|work of art> in <Weimar|LOC> with <Lotte|PER> on <Friday|DATE> 🕮
👩‍🔬 <Marie Curie|PER> and <Pierre|PER> worked at the <Sorbonne|ORG> in <1903|DATE>.
<Ulan Bator|LOC> — <Улаанбаатар|LOC> — is cold in <January|DATE>; <Bat|PER> knows.
<Elif Şafak|PER>, <İzmir|LOC>; <Orhan Pamuk|PER>, <İstanbul|LOC>; <Aziz Sancar|PER>"""

NLP = spacy.blank("en")


@dataclass(frozen=True)
class Sentence:
    """A text and its spans: start, end, label."""

    text: str
    spans: tuple[tuple[int, int, str], ...]

    @cached_property
    def doc(self) -> Doc:
        doc = NLP(self.text)
        doc.ents = [doc.char_span(a, b, label) for a, b, label in self.spans]
        return doc

    @property
    def triples(self) -> list[list]:
        return [list(span) for span in self.spans]

    @property
    def words(self) -> list[str]:
        return [token.text for token in self.doc]

    @property
    def ranges(self) -> list[tuple[int, int, str]]:
        """First token, end and label of each span."""
        return [(ent.start, ent.end, ent.label_) for ent in self.doc.ents]

    @property
    def biluo(self) -> list[str]:
        return offsets_to_biluo_tags(self.doc, list(self.spans))

    @property
    def iob2(self) -> list[str]:
        return [
            tag.replace("U-", "B-").replace("L-", "I-") if tag[1:2] == "-" else tag
            for tag in self.biluo
        ]

    @property
    def bioes(self) -> list[str]:
        return [
            tag.replace("U-", "S-").replace("L-", "E-") if tag[1:2] == "-" else tag
            for tag in self.biluo
        ]

    @property
    def iob1(self) -> list[str]:
        """B- only between neighbours of one label."""
        before = "O"
        tags = []
        for tag in self.iob2:
            if tag[:2] == "B-" and before[2:] != tag[2:]:
                tag = f"I-{tag[2:]}"
            tags.append(tag)
            before = tag
        return tags


def _parse(line: str) -> Sentence:
    text, spans = "", []
    for part in line.replace(">", "<").split("<"):
        words, bar, label = part.partition("|")
        if bar:
            spans.append((len(text), len(text) + len(words), label))
        text += words
    return Sentence(text, tuple(spans))


TRUTH = [_parse(line) for line in MARKED.split("\n")]


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def dump(rows):
    return json.dumps(rows, ensure_ascii=False)


def utf16(text, index):
    return len(text[:index].encode("utf-16-le")) // 2


def objects(sentence, *keys, words=False):
    """The spans as objects with these keys."""
    made = []
    for start, end, label in sentence.spans:
        one = dict(zip(keys, (start, end, label), strict=True))
        made.append({**one, "text": sentence.text[start:end]} if words else one)
    return made


def prodigy(truth):
    rows = []
    for number, one in enumerate(truth):
        tokens = [
            {"text": t.text, "start": t.idx, "end": t.idx + len(t), "id": t.i}
            for t in one.doc
        ]
        spans = objects(one, "start", "end", "label")
        for span, (first, end, _) in zip(spans, one.ranges, strict=True):
            span |= {"token_start": first, "token_end": end - 1}
        row = {"text": one.text, "_task_hash": number, "tokens": tokens}
        # An accepted task in which nothing was marked may lack its spans.
        rows.append({**row, **({"spans": spans} if spans else {}), "answer": "accept"})
        rows.append({**rows[-1], "spans": [], "answer": "reject"})
    return lines(rows)


def doccano(truth):
    return lines(
        {
            "id": n,
            "text": one.text,
            "label": one.triples,
            "Comments": [],
        }
        for n, one in enumerate(truth)
    )


def doccano_labels(truth):
    return lines({"text": one.text, "labels": one.triples} for one in truth)


def doccano_relations(truth):
    return lines(
        {
            "id": n,
            "text": one.text,
            "entities": objects(one, "start_offset", "end_offset", "label"),
            "relations": [],
            "Comments": [],
        }
        for n, one in enumerate(truth)
    )


def label_studio(truth):
    tasks = []
    for number, one in enumerate(truth):
        result = [
            {
                "id": f"r{n}",
                "from_name": "label",
                "to_name": "text",
                "type": "labels",
                "value": {
                    "start": a,
                    "end": b,
                    "text": one.text[a:b],
                    "labels": [label],
                },
            }
            for n, (a, b, label) in enumerate(one.spans)
        ]
        wrong = {"start": 0, "end": 1, "labels": ["WRONG"]}
        wrong = [{"id": "w", "type": "labels", "value": wrong}]
        annotations = [
            {"id": 1, "completed_by": 1, "was_cancelled": True, "result": wrong},
            {"id": 2, "completed_by": 1, "was_cancelled": False, "result": result},
        ]
        predictions = [{"model_version": "x", "result": wrong}]
        data = {"review": one.text, "source": "https://example.com/reviews/12345678901"}
        task = {"id": number, "data": data, "annotations": annotations}
        tasks.append({**task, "predictions": predictions})
    return json.dumps(tasks, ensure_ascii=False, indent=2)


def label_studio_min(truth):
    rows = []
    for number, one in enumerate(truth):
        spans = objects(one, "start", "end", "labels", words=True)
        for span in spans:
            span["labels"] = [span["labels"]]
        row = {
            "id": number,
            "review": one.text,
            "annotator": 1,
            "annotation_id": number,
        }
        # The control is missing where nothing was marked.
        rows.append({**row, **({"ner": spans} if spans else {}), "lead_time": 1.5})
    return dump(rows)


def argilla(truth):
    rows = []
    for number, one in enumerate(truth):
        responses = {
            "span_label": [
                {"value": objects(one, "start", "end", "label"), "user_id": "u1"}
            ],
            "quality": [{"value": "good", "user_id": "u1"}],
        }
        wrong = [{"start": 0, "end": 1, "label": "WRONG"}]
        suggestions = {"span_label": {"value": wrong, "score": 0.9, "agent": "m"}}
        row = {"id": f"r{number}", "fields": {"sentence": one.text}, "metadata": {}}
        row |= {"responses": responses, "suggestions": suggestions, "vectors": {}}
        rows.append(row)
    return dump(rows)


def columns(truth, scheme, middle="", head=""):
    blocks = []
    for one in truth:
        tags = getattr(one, scheme)
        rows = zip(one.words, tags, strict=True)
        blocks.append("".join(f"{word}\t{middle}{tag}\n" for word, tag in rows))
    return head + "\n".join(blocks)


def conll2003(truth):
    blocks = []
    for one in truth:
        rows = zip(one.words, one.iob1, strict=True)
        rows = (f"{word}\tNN\tI-NP\t{tag}\n" for word, tag in rows)
        blocks.append("-DOCSTART-\t-X-\tO\tO\n\n" + "".join(rows))
    return "\n".join(blocks)


def iob(truth):
    """spaCy's `iob`, a sentence a line, where a label can't have a blank."""
    rows = []
    for one in truth:
        tags = (tag.replace(" ", "_") for tag in one.iob2)
        pairs = zip(one.words, tags, strict=True)
        rows.append(" ".join(f"{word}|{tag}" for word, tag in pairs) + "\n")
    return "".join(rows)


def spacy2(truth):
    documents = []
    for number, one in enumerate(truth):
        tokens = [
            {"id": n, "orth": word, "ner": tag}
            for n, (word, tag) in enumerate(zip(one.words, one.biluo, strict=True))
        ]
        paragraph = {"raw": one.text, "sentences": [{"tokens": tokens}]}
        documents.append({"id": number, "paragraphs": [paragraph]})
    return dump(documents)


def tuples(truth):
    return dump([[one.text, {"entities": one.triples}] for one in truth])


def tuple_lines(truth):
    return lines([one.text, {"entities": one.triples}] for one in truth)


def python(truth):
    rows = ",\n    ".join(repr((o.text, {"entities": list(o.spans)})) for o in truth)
    return f"import spacy\n\nTRAIN_DATA = [\n    {rows},\n]\n\nspacy.blank('en')\n"


def doc_json(truth):
    return lines(one.doc.to_json() for one in truth)


def doc_json_groups(truth):
    rows = []
    for one in truth:
        doc = one.doc.copy()
        doc.spans["sc"] = list(doc.ents)
        rows.append(doc.to_json())
        del rows[-1]["ents"]
    return dump(rows)


def docbin(truth):
    return DocBin(docs=[one.doc for one in truth]).to_bytes()


def tag_rows(truth, names=()):
    rows = []
    for number, one in enumerate(truth):
        tags = [names.index(tag) for tag in one.iob2] if names else one.iob2
        rows.append({"id": str(number), "tokens": one.words, "ner_tags": tags})
    return rows


def gliner(truth):
    return dump(
        [
            {
                "tokenized_text": one.words,
                "ner": [[first, end - 1, label] for first, end, label in one.ranges],
                "ner_labels": list(LABELS),
            }
            for one in truth
        ]
    )


def by_label(one):
    found = {label: [] for label in LABELS}
    for start, end, label in one.spans:
        found.setdefault(label, []).append(one.text[start:end])
    return found


def gliner2(truth):
    described = {"PER": "a person's name"}
    return lines(
        {
            "input": o.text,
            "output": {"entities": by_label(o), "entity_descriptions": described},
        }
        for o in truth
    )


def gliformer(truth):
    rows = []
    for one in truth:
        pairs = [[one.text[a:b], label] for a, b, label in one.spans]
        task = {"name": "entities", "all_labels": list(LABELS), "ner": pairs}
        rows.append({"text": one.text, "extraction": [task]})
    return lines(rows)


def records(truth):
    return lines(
        {"text": o.text, "entities": objects(o, "start", "end", "concept", words=True)}
        for o in truth
    )


TAG_NAMES = ["O", *(f"{prefix}-{label}" for label in LABELS for prefix in "BI")]
# Forms that are one file: what it holds, its name, and whether it keeps the text (else
# words are joined by blanks).
FORMS = {
    "prodigy": (prodigy, "a.jsonl", True),
    "doccano": (doccano, "a.jsonl", True),
    "doccano labels": (doccano_labels, "a.jsonl", True),
    "doccano relations": (doccano_relations, "a.jsonl", True),
    "label-studio": (label_studio, "a.json", True),
    "label-studio-min": (label_studio_min, "a.json", True),
    "argilla": (argilla, "a.json", True),
    "conll iob2": (lambda t: columns(t, "iob2"), "a.conll", False),
    "conll iob1": (lambda t: columns(t, "iob1"), "a.iob", False),
    "conll biluo": (lambda t: columns(t, "biluo"), "a.txt", False),
    "conll bioes": (lambda t: columns(t, "bioes", "NN\t_\t"), "a.tsv", False),
    "conll 2003": (conll2003, "eng.train", False),
    "iob": (iob, "a.iob", False),
    "spacy2": (spacy2, "a.json", True),
    "tuples": (tuples, "a.json", True),
    "tuple lines": (tuple_lines, "a.jsonl", True),
    "python": (python, "train.py", True),
    "doc to_json": (doc_json, "a.jsonl", True),
    "doc to_json groups": (doc_json_groups, "a.json", True),
    "docbin": (docbin, "a.spacy", True),
    "tokens": (lambda t: lines(tag_rows(t)), "a.jsonl", False),
    "tokens json": (lambda t: dump(tag_rows(t)), "a.json", False),
    "gliner": (gliner, "a.json", False),
    "gliner2": (gliner2, "a.jsonl", True),
    "gliformer": (gliformer, "a.jsonl", True),
    "records": (records, "a.jsonl", True),
}


def expected(truth, *, has_text):
    """Start, end and label of each span, in the text or in the joined words."""
    found = []
    for one in truth:
        if has_text:
            found.append(sorted(one.spans))
            continue
        starts, position = [], 0
        for word in one.words:
            starts.append(position)
            position += len(word) + 1
        found.append(
            [
                (starts[a], starts[b - 1] + len(one.words[b - 1]), c)
                for a, b, c in one.ranges
            ]
        )
    return found


def found_in(docs):
    return [
        # A DocBin's annotations stay where they are.
        sorted(
            (span.start_char, span.end_char, span.label_)
            for span in (doc.spans["concepts"] if doc.spans else doc.ents)
        )
        for doc in docs
    ]
