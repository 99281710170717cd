"""What a run came to: `document` is report.json, `page` makes report.html of it."""
