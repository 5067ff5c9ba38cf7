"""What tests have measured, at the end of a run: pytest keeps what a test prints to itself where it passes."""


def pytest_terminal_summary(terminalreporter):
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for line in report.capstdout.splitlines():
                if line.startswith("figure "):
                    terminalreporter.write_line(line)
