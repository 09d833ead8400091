"""The flow as a picture for the README, drawn from what is declared (Mermaid, which the usual hosts render)."""

from catalog.kinds import Catalog


def picture(catalog: Catalog) -> str:
    """Exchange -> queue -> handler in its service -> container, and the way of what fails."""
    exchange = catalog.exchange
    lines = ["flowchart LR", f'  exchange{{{{"{exchange.name}<br/>topic exchange"}}}}']
    for service in catalog.services:
        lines.append(f'  subgraph service_{_id(service.name)}["{service.name} :{service.port} x{service.replicas}"]')
        lines += [f'    {_id(queue.handler)}["{queue.handler}"]' for queue in catalog.queues_of(service.name)]
        lines.append("  end")
    for queue in catalog.queues:
        name, keys = f"queue_{_id(queue.name)}", "<br/>".join(queue.keys)
        lines.append(f'  exchange -- "{keys}" --> {name}[("{queue.name}")]')
        lines.append(f'  {name} -- "{queue.prefetch} at a time" --> {_id(queue.handler)}')
        lines.append(f'  {_id(queue.handler)} -. "rejected" .-> dead[("dead letters<br/>one queue each")]')
    for service in catalog.services:
        for setting in service.stores:
            store = catalog.store(setting)
            shape = f'[/"{store.name}<br/>{"blobs" if store.kind == "blob" else "documents"}"/]'
            lines.append(f"  service_{_id(service.name)} --> {_id(store.setting)}{shape}")
    return "\n".join(lines)


def _id(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)
