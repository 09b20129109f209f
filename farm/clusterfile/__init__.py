"""Files that describe clusters (cluster.yaml, KubeRay manifests): read, and held to what the farm needs of them.

Pure functions from a document to findings. The field names and types come from the installed Ray's own schema and,
for Kubernetes, from kuberay_fields.json.
"""
