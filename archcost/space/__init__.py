"""The networks that a spec stands for at other knobs and sizes: closed forms, sweeps, solutions."""
