"""The inspection of folders: from image files to rows, tables and a report."""
