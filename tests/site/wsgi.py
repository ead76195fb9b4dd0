"""The test project's WSGI application: the view alone, since nothing can be mounted beside Django."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.site.settings")

application = get_wsgi_application()
