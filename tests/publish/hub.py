"""A hub on loopback: the calls that an upload and a download make, and faults."""

import base64
import hashlib
import json
from urllib.parse import unquote

from ..annotate.server import Server, _CuttableProtocol, _start

TOKEN = "hf_" + "aBcDeFgH" * 4
# As the hub, which takes these and says what is wrong with others.
LICENSES = {"mit", "apache-2.0", "cc-by-4.0", "other"}


class Hub(Server):
    """Repositories of models, with files by name and objects by hash.

    repos: name -> {"private", "files", "commits"}. objects: what arrived by hash.
    sent: paths of requests with a body, in order. cut: how many uploads arrive before
    connections are cut; None for all. fail: path -> status that it is refused with.
    """

    def __init__(self):
        super().__init__(key=TOKEN)
        self.repos, self.objects, self.sent = {}, {}, []
        self.cut, self.fail = None, {}

    def __enter__(self):
        super().__enter__()
        self.url = self.url.removesuffix("/v1")
        return self

    async def _route(self, scope, body, send):
        path, method = unquote(scope["path"]), scope["method"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        given = headers.get("authorization", "").removeprefix("Bearer ")
        self.sent.append(f"{method} {path}")
        for known, status in self.fail.items():
            if known in path:
                await self._json(send, status, {"error": "injected"})
                return
        if path.startswith("/objects/"):
            await self._put(scope, path, body, send)
        elif given != self.key:
            await self._json(send, 401, {"error": "Invalid credentials"})
        elif path == "/api/repos/create":
            await self._create(json.loads(body), send)
        elif path == "/api/validate-yaml":
            await self._validate(json.loads(body), send)
        elif path.startswith("/api/models/"):
            await self._model(path.removeprefix("/api/models/"), body, send)
        elif path.endswith(".git/info/lfs/objects/batch"):
            await self._json(send, 200, self._batch(json.loads(body)))
        else:
            await self._resolve(method, path.strip("/"), send)

    async def _create(self, asked, send):
        name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
        if name in self.repos:
            there = {"error": "You already created this", "url": f"{self.url}/{name}"}
            await self._json(send, 409, there)
            return
        repo = {"private": asked["private"], "files": {}, "commits": 0}
        self.repos[name] = repo
        await self._json(send, 200, {"url": f"{self.url}/{name}"})

    async def _validate(self, asked, send):
        from huggingface_hub import ModelCard

        found = ModelCard(asked["content"]).data.to_dict().get("license", "mit")
        errors = [] if found in LICENSES else [{"message": f'"license" is {found}'}]
        answer = {"errors": errors, "warnings": []}
        await self._json(send, 400 if errors else 200, answer)

    async def _model(self, path, body, send):
        owner, name, action = path.split("/")[:3]
        repo = self.repos[f"{owner}/{name}"]
        if action == "preupload":
            files = [
                {
                    "path": file["path"],
                    # What is no text, or large.
                    "uploadMode": "lfs" if self._is_large(file) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            await self._json(send, 200, {"files": files})
        elif action == "commit":
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    content = base64.b64decode(value["content"])
                    repo["files"][value["path"]] = content
                elif entry["key"] == "lfsFile":
                    repo["files"][value["path"]] = self.objects[value["oid"]]
            repo["commits"] += 1
            oid = f"{repo['commits']:040x}"
            answer = {"commitUrl": f"{self.url}/{path}/{oid}", "commitOid": oid}
            await self._json(send, 200, answer)
        elif action == "tree":
            # transformers asks for files of templates, of which there are none.
            error = (b"x-error-code", b"EntryNotFound")
            await self._json(send, 404, {"error": "no such folder"}, error)
        else:
            siblings = [{"rfilename": name} for name in repo["files"]]
            sha = f"{repo['commits']:040x}"
            info = {"id": f"{owner}/{name}", "sha": sha, "siblings": siblings}
            await self._json(send, 200, info | {"private": repo["private"]})

    @staticmethod
    def _is_large(file):
        return file["size"] > 50_000 or file["path"].endswith(".safetensors")

    def _batch(self, asked):
        objects = []
        for one in asked["objects"]:
            href = f"{self.url}/objects/{one['oid']}"
            actions = {"actions": {"upload": {"href": href}}}
            objects.append(one | ({} if one["oid"] in self.objects else actions))
        return {"transfer": "basic", "objects": objects}

    async def _put(self, scope, path, body, send):
        if self.cut is not None and len(self.objects) >= self.cut:
            _CuttableProtocol.transports[scope["client"]].abort()
            return
        oid = path.removeprefix("/objects/")
        assert hashlib.sha256(body).hexdigest() == oid
        self.objects[oid] = body
        await self._json(send, 200, {})

    async def _resolve(self, method, path, send):
        owner, name, _, _, *rest = path.split("/")
        repo = self.repos[f"{owner}/{name}"]
        content = repo["files"].get("/".join(rest))
        if content is None:
            error = (b"x-error-code", b"EntryNotFound")
            await self._json(send, 404, {"error": "no such file"}, error)
            return
        tag = hashlib.sha256(content).hexdigest()
        headers = [
            (b"x-repo-commit", f"{repo['commits']:040x}".encode()),
            (b"etag", f'"{tag}"'.encode()),
        ]
        kind = b"application/octet-stream"
        await send(_start(200, len(content), kind, *headers))
        shown = b"" if method == "HEAD" else content
        await send({"type": "http.response.body", "body": shown})
