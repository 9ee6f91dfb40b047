"""The YAML files that come with the package; `--config demo` finds `demo.yaml` here when no such file is in the way."""
