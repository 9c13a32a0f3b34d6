"""One thread for each process: a worker has a process for every core, and more threads would only fight over them."""


def use_one_thread() -> None:
    """Keep OpenCV and Pillow's AVIF to one thread in this process; others are told by their environment variables."""
    import cv2  # noqa: PLC0415  loaded here, after its process has set its limits
    from PIL import AvifImagePlugin  # noqa: PLC0415

    cv2.setNumThreads(1)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
