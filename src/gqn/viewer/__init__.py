"""The viewer, `gqn view`.

`session` computes what is shown, `server` serves the page and answers its questions, in the format of `protocol`. The
page is `page.html`, `page.js` and `page.css`, without a build step.
"""
