"""Published pipelines as data: one TOML file per model, and `parts/` for what several of them share."""
