"""The lifecycles that ship, as TOML, and their reader."""
