"""The downstream end: configuration, wiring, loops, commands. It turns the stages, owns no rule."""
