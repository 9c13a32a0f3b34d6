"""One thread for each process: a worker has a process for every core, and more threads would only fight over them."""


def use_one_thread() -> None:
    """Keep OpenCV to one thread in this process; other libraries are told by their environment variables."""
    import cv2  # noqa: PLC0415  loaded here, after its process has set its limits

    cv2.setNumThreads(1)
