"""What every other room stands on: operations, events, deferrals, collections, values. The lowest room but errors."""
