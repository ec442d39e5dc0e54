"""The whole chain over videos and folders of frames, from the file to the video with masks."""
