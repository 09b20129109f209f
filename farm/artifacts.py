"""The names under which the rest of the farm knows the store of a job: see farm.store."""

from farm.store.base import THE_OUTPUT, Store
from farm.store.disk import DiskStore, lock_file, storage_error, sync_folder
from farm.store.opening import open_store, store_at

__all__ = ["THE_OUTPUT", "DiskStore", "Store", "lock_file", "open_store", "storage_error", "store_at", "sync_folder"]
