"""lamina deploy"""

from __future__ import annotations

from typing import Annotated

import typer

from lamina.cli import _serving as on
from lamina.cli._options import Address, Backend, Cpus, Gpus, share


def command(
    bundles: on.Bundles,
    ray: Annotated[bool, typer.Option("--ray", help="On a Ray cluster, by Ray Serve.")] = False,
    address: Address = None,
    name: Annotated[str, typer.Option(help="The application's name in Ray Serve; one of that name is replaced.")] = "lamina",
    min_replicas: Annotated[int, typer.Option(help="The fewest replicas.", min=1)] = 1,
    max_replicas: Annotated[int, typer.Option(help="The most replicas.", min=1)] = 4,
    target: Annotated[float, typer.Option(help="The requests at a time that a replica should have.", min=0.1)] = 8.0,
    up: Annotated[float, typer.Option(help="Seconds of more requests than that before a replica is added.", min=0)] = 10.0,
    down: Annotated[float, typer.Option(help="Seconds of fewer before one is taken away.", min=0)] = 120.0,
    cpus: Cpus = None,
    gpus: Gpus = None,
    host: on.Host = "127.0.0.1",
    port: on.Port = 8000,
    token_file: on.TokenFile = None,
    open: on.Open = False,
    tls_cert: on.TlsCert = None,
    tls_key: on.TlsKey = None,
    backend: Backend = "auto",
    threads: on.Threads = None,
    workers: on.Workers = 1,
    batch: on.Batch = 32,
    queue: Annotated[int, typer.Option(help="The most requests that wait for a replica.", min=1)] = 64,
    timeout: on.Timeout = 30.0,
    max_body: on.MaxBody = 64,
    max_cache: on.MaxCache = 4096,
    poll: on.Poll = 2.0,
    grace: on.Grace = 30.0,
) -> None:
    """Serve bundles as `lamina serve` does, by replicas on a cluster, of which there are as many as the requests need.

    The bundles are on this machine; the others copy them. A request whose replica is lost is answered by another.
    """
    if not ray:
        raise typer.BadParameter("say where to: --ray", param_hint="--ray")
    if max_replicas < min_replicas:
        raise typer.BadParameter(f"at most {max_replicas} are fewer than at least {min_replicas}", param_hint="--max-replicas")
    from lamina.runtime.serve.settings import Settings

    settings = Settings(
        host=host, port=port, token=on.token(token_file), certificate=tls_cert, key=tls_key, backend=backend, threads=threads,
        workers=workers, poll=poll, grace=grace, limits=on.limits(max_body, max_cache, batch, queue, timeout),
    )  # fmt: skip
    on.check(settings, open)
    from lamina.runtime.ray.deploy import Scaling, deploy

    scaling = Scaling(least=min_replicas, most=max_replicas, target=target, up=up, down=down)
    deploy(bundles, settings, on.drawn, name=name, address=address, scaling=scaling, share=share(cpus, gpus))
