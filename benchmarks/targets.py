"""A figure beside its target."""


def told(name: str, figure: str, target: str = "", *, kept: bool = True) -> bool:
    """Print one figure, with its target if it has one; whether that was kept."""
    verdict = f"{target:14s} {'kept' if kept else 'MISSED'}" if target else "for comparison"
    print(f"{name:52s} {figure:>24s}   {verdict}")
    return kept


def at_most(name: str, figure: float, most: float, unit: str = "", form: str = ".3g") -> bool:
    """`told` for a figure that must not be above `most`."""
    return told(name, f"{figure:{form}}{unit}", f"<= {most:g}{unit}", kept=figure <= most)
