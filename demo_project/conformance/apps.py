from django.apps import AppConfig


class ConformanceConfig(AppConfig):
    name = "demo_project.conformance"
    verbose_name = "Conformance fixtures"
